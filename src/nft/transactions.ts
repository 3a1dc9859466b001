import * as v from "valibot";
import type { Family } from "../net/cidr.ts";
import { failureKind, ProgramError } from "../system/program.ts";
import { blaming, type Failed, failure, isExisting } from "./errors.ts";
import type { Command } from "./json.ts";
import { commandsOf, type NewSet, textOf } from "./new-set.ts";
import type { NftProgram } from "./program.ts";

/** Changes the kernel's ruleset by documents of commands. Each document is one transaction. */
export class NftTransactions {
  readonly #program: NftProgram;
  /**
   * The maximum number of elements in one transaction. Without CAP_NET_ADMIN in the initial user namespace,
   * net.core.wmem_max (208 kB by default) limits a netlink message: 5,000 elements with counter and comment exceed it
   * (EMSGSIZE), 1,000 with the longest comments do not (measured on kernel 6.18).
   */
  #elementsAtOnce = Number.POSITIVE_INFINITY;
  /** The commands behind each error that was thrown. */
  readonly #attempted = new WeakMap<ProgramError, readonly Command[]>();

  /** Called before each transaction that may change the kernel. */
  onSend: () => void = () => {};
  /**
   * Called if such a transaction failed. The kernel may have committed it nevertheless, for example if nft was killed.
   */
  onFailure: () => void = () => {};

  constructor(program: NftProgram) {
    this.#program = program;
  }

  /** Creates sets. May use several transactions: each set comes before its elements. */
  async build(sets: readonly NewSet[]): Promise<void> {
    if (sets.length === 0) return;
    try {
      await this.#build(sets);
    } catch (error) {
      if (failureKind(error) !== "too-large" || this.#elementsAtOnce === FEW_ELEMENTS) throw error;
      this.#elementsAtOnce = FEW_ELEMENTS;
      await this.build(sets);
    }
  }

  async #build(sets: readonly NewSet[]): Promise<void> {
    const elements = sets.reduce((sum, { set }) => sum + set.elements.length, 0);
    if (elements < LONG || elements > this.#elementsAtOnce) {
      const commands = commandsOf(sets);
      for (const batch of batches(commands, this.#elementsAtOnce)) await this.attempt(batch);
      return;
    }
    const error = await this.#send(() => this.#program.sendText(new Blob([...textOf(sets)])));
    if (error) throw error;
  }

  /** Sends commands as one transaction: either all take effect, or none does. Throws ProgramError. */
  async commit(commands: readonly Command[]): Promise<void> {
    try {
      await this.attempt(commands);
    } catch (error) {
      throw await this.explained(error);
    }
  }

  /** Like `commit`, without the search for the refused command. */
  async attempt(commands: readonly Command[]): Promise<void> {
    const error = await this.#send(() => this.#program.send(documentOf(commands)));
    if (!error) return;
    this.#attempted.set(error, commands);
    throw error;
  }

  /**
   * Like `attempt`. Returns whether nft prints the kernel's numbers of all new rules, which it knows only if the
   * transaction took effect. nft before 1.1 reads all sets of the node for it.
   */
  async attemptEchoed(commands: readonly Command[]): Promise<boolean> {
    let echo = "";
    const error = await this.#send(async () => {
      const answer = await this.#program.sendEchoed(documentOf(commands));
      if (typeof answer !== "string") return answer;
      echo = answer;
      return undefined;
    });
    if (!error) return numbersRules(echo, commands.filter(isNewRule).length);
    this.#attempted.set(error, commands);
    throw error;
  }

  /** Returns the error if nft or the kernel refuses a transaction. Throws ProgramError if nft cannot run. */
  async #send(send: () => Promise<Failed | undefined>): Promise<ProgramError | undefined> {
    this.onSend();
    let failed: Failed | undefined;
    try {
      failed = await send();
    } catch (error) {
      this.onFailure();
      throw error;
    }
    if (!failed) return undefined;
    this.onFailure();
    return failure(failed);
  }

  /** Tests commands without applying them. Throws ProgramError if nft or the kernel refuses them. */
  async check(commands: readonly Command[]): Promise<void> {
    const failed = await this.#program.send(documentOf(commands), "--check");
    if (failed) throw failure(failed);
  }

  /**
   * Whether a chain exists. Takes 2 ms of CPU beside 10,000 elements and 32,000 chains, where nft 1.0.6 needs 40 ms to list
   * the chain, as it reads the elements, and 140 ms to list all chains. Throws ProgramError if nft cannot run.
   */
  async hasChain(family: Family, table: string, name: string): Promise<boolean> {
    const creation: Command = { create: { chain: { family, table, name } } };
    const failed = await this.#program.send(documentOf([creation]), "--check");
    return failed !== undefined && isExisting(failed);
  }

  /** The error of `attempt` or `build` with the command that was refused. Finding it takes several runs of nft. */
  async explained(error: unknown): Promise<unknown> {
    const commands = error instanceof ProgramError ? this.#attempted.get(error) : undefined;
    if (!(error instanceof ProgramError) || commands === undefined) return error;
    return blaming(error, await this.#refused(commands));
  }

  /**
   * The command that was refused. nft does not name it. This bisects with --check to find the shortest refused
   * sequence of first commands; its last command is the cause.
   */
  async #refused(commands: readonly Command[]): Promise<Command | undefined> {
    let accepted = 0;
    let refused = commands.length;
    while (refused - accepted > 1) {
      const middle = (accepted + refused) >> 1;
      if (await this.#program.send(documentOf(commands.slice(0, middle)), "--check")) refused = middle;
      else accepted = middle;
    }
    return commands[refused - 1];
  }
}

function isNewRule(command: Command): boolean {
  return "add" in command && "rule" in command.add;
}

/** Whether nft's echo of a document has that many new rules, each with its number. */
function numbersRules(echo: string, count: number): boolean {
  const { success, output } = v.safeParse(Echo, echo);
  return success && output.nftables.filter(({ add }) => add?.rule?.handle !== undefined).length === count;
}

const Echo = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    nftables: v.array(
      v.object({
        add: v.optional(v.object({ rule: v.optional(v.object({ handle: v.optional(v.number()) })) })),
      }),
    ),
  }),
);

const FEW_ELEMENTS = 1000;

/** From this many elements on, sets are sent in nft's syntax, for which nft needs less memory than for JSON. */
const LONG = 5000;

/** Commands as a libnftables-json document. */
export function documentOf(commands: readonly Command[]): string {
  return JSON.stringify({ nftables: [{ metainfo: { json_schema_version: 1 } }, ...commands] });
}

function batches(commands: readonly Command[], elementsAtOnce: number): Command[][] {
  const parts = commands.flatMap(command => split(command, elementsAtOnce));
  if (!Number.isFinite(elementsAtOnce)) return [parts];
  return parts.map(part => [part]);
}

/** Splits the creation of a long set: the first elements come with the set, other elements in separate commands. */
function split(command: Command, elementsAtOnce: number): Command[] {
  if (!("add" in command && "set" in command.add)) return [command];
  const { set } = command.add;
  const { family, table, name, elem = [] } = set;
  if (elem.length <= elementsAtOnce) return [command];
  const parts: Command[] = [{ add: { set: { ...set, elem: elem.slice(0, elementsAtOnce) } } }];
  for (let i = elementsAtOnce; i < elem.length; i += elementsAtOnce) {
    parts.push({ add: { element: { family, table, name, elem: elem.slice(i, i + elementsAtOnce) } } });
  }
  return parts;
}
