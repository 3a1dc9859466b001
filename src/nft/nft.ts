import * as v from "valibot";
import {
  deadlineFor,
  type FailureKind,
  failureKind,
  ProgramError,
  type RunLimits,
  run,
} from "../system/program.ts";
import { BaseChain, type Command, Listing, type NftObject, type TableFamily } from "./json.ts";
import { crashesBesideNewer, type Features, featuresOf } from "./version.ts";

export interface ChainName {
  readonly family: TableFamily;
  readonly table: string;
  readonly name: string;
}

/** Stands for the flags of a table whose listing breaks off there. */
export const UNREADABLE = "unreadable";

/** nft, run once for each thing that is asked of it. */
export class Nft {
  /**
   * How many elements one transaction takes. Without CAP_NET_ADMIN in the first user namespace the kernel
   * bounds a netlink message by net.core.wmem_max, 208 kB by default: 5,000 elements with counter and
   * comment are too many (EMSGSIZE), 1,000 with the longest comments are not (measured on kernel 6.18).
   */
  #elementsAtOnce = Number.POSITIVE_INFINITY;
  /** The longest text sent or printed so far, in bytes: a listing may be as long again. */
  #size = 0;
  /** From its last answer that states it. */
  #version: string | undefined;
  /** The commands that were sent when an error was thrown. */
  readonly #attempted = new WeakMap<ProgramError, readonly Command[]>();

  /**
   * @param argv how nft is called, as in `["nft"]`
   * @param limits of each run that lists something
   */
  constructor(
    readonly argv: readonly string[] = ["nft"],
    readonly limits: RunLimits = {},
  ) {}

  /** What a table holds; undefined if it does not exist. Throws ProgramError. */
  async list(family: TableFamily, table: string): Promise<readonly NftObject[] | undefined> {
    return this.#list("table", family, table);
  }

  /** All chains of the node, without their rules. Throws ProgramError. */
  async chains(): Promise<readonly NftObject[]> {
    return (await this.#list("chains")) ?? [];
  }

  /**
   * The base chains of one hook and type, in the order in which the kernel lists them: by their tables, the oldest table
   * first. Beside 32,000 chains it takes nft 150 ms, 65 MB and 3 MB of output (1.0.6 to 1.1.7), of which only the base
   * chains are parsed here. Throws ProgramError.
   */
  async baseChains(type: string, hook: string): Promise<readonly BaseChain[]> {
    const argv = [...this.argv, "-j", "list", "chains"];
    const { exitCode, stdout, stderr } = await run(argv, { deadline: deadlineFor(), ...this.limits });
    if (exitCode !== 0) throw failure(argv, { exitCode, stderr });
    // Quotes in names are escaped, so these words stand where they mean this.
    const hooks = stdout.matchAll(new RegExp(`"hook":\\s*"${hook}"`, "g"));
    const chains = Array.from(hooks, ({ index }) => {
      const text = stdout.slice(stdout.lastIndexOf('{"chain":', index), stdout.indexOf("}}", index) + 2);
      const parsed = v.safeParse(BaseChain, text);
      return parsed.success ? parsed.output.chain : undefined; // of a family without NAT, such as bridge
    });
    return chains.filter(it => it !== undefined).filter(it => it.type === type);
  }

  /**
   * One chain and its rules; undefined if it does not exist. Throws ProgramError.
   *
   * The cost does not depend on the rest of the table: 4 ms and 13 MB beside 64,000 rules, where listing the table
   * takes 717 MB (nft 1.0.6 to 1.1.7; 0.9.8 reads all of it). Names that nft's command line would misread (`a;b`,
   * `a#b`, `accept`) are sent as a JSON document.
   */
  async chain(family: TableFamily, table: string, name: string): Promise<readonly NftObject[] | undefined> {
    return this.#object("chain", family, table, name, it => this.#understood(it));
  }

  /** One set with its elements; undefined if it does not exist. Throws ProgramError. */
  async set(family: TableFamily, table: string, name: string): Promise<readonly NftObject[] | undefined> {
    return this.#object("set", family, table, name, it => this.#understood(it));
  }

  /** What a map of verdicts holds, as JSON text; undefined if it does not exist. Throws ProgramError. */
  async map(family: TableFamily, table: string, name: string): Promise<string | undefined> {
    return this.#object("map", family, table, name, ({ stdout }) => stdout);
  }

  async #object<T>(
    kind: "chain" | "set" | "map",
    family: TableFamily,
    table: string,
    name: string,
    read: (answer: Answer) => T,
  ): Promise<T | undefined> {
    if (isPlain(table) && isPlain(name)) {
      try {
        const answer = await this.#ask([...this.argv, "-j", "list", kind, family, table, name]);
        return answer && read(answer);
      } catch (error) {
        if (failureKind(error) !== "refused") throw error;
      }
    }
    const command = { list: { [kind]: { family, table, name } } };
    const answer = await this.#ask([...this.argv, "-j", "-f", "-"], JSON.stringify({ nftables: [command] }));
    return answer && read(answer);
  }

  /** A text that changes with the rules of some chains, but not with what they counted. Throws ProgramError. */
  async chainsText(chains: readonly ChainName[]): Promise<string> {
    const listed = await Promise.all(
      chains.map(({ family, table, name }) => this.chain(family, table, name)),
    );
    return JSON.stringify(listed, (key, value) => (key === "counter" ? null : value));
  }

  /**
   * A chain's rules in nft's syntax, without counts, by handle. Empty if nft's command line would misread the names.
   * Throws ProgramError.
   */
  async chainTexts(family: TableFamily, table: string, name: string): Promise<ReadonlyMap<number, string>> {
    if (!isPlain(table) || !isPlain(name)) return new Map();
    const { stdout } = await run(
      [...this.argv, "--handle", "list", "chain", family, table, name],
      this.limits,
    );
    const lines = stdout.matchAll(/^\t\t(.*\S) # handle (\d+)$/gm);
    return new Map(Array.from(lines, ([, text = "", handle]) => [Number(handle), text.replace(COUNTS, "")]));
  }

  async #list(...words: string[]): Promise<readonly NftObject[] | undefined> {
    const answer = await this.#ask([...this.argv, "-j", "list", ...words]);
    return answer && this.#understood(answer);
  }

  /** Undefined if the object does not exist. */
  async #ask(argv: readonly string[], input?: string): Promise<Answer | undefined> {
    const deadline = deadlineFor(this.#size);
    const { exitCode, stdout, stderr } = await run(argv, { deadline, ...this.limits, input });
    this.#size = Math.max(this.#size, stdout.length);
    if (exitCode === 1 && stderr.includes(MISSING)) return undefined;
    if (exitCode !== 0 || stderr.replaceAll(UNPRINTABLE, "") !== "")
      throw failure(argv, { exitCode, stderr });
    return { argv, exitCode, stdout };
  }

  #understood({ argv, exitCode, stdout }: Answer): readonly NftObject[] {
    // nft 1.0.6 reads the flags of a table from invalid memory, which may end the text.
    const text = stdout.replace(/"flags":\s*$/, `"flags": "${UNREADABLE}"}}]}`);
    const listing = v.safeParse(Listing, text);
    if (listing.success) {
      const { nftables } = listing.output;
      for (const object of nftables) if ("metainfo" in object) this.#version = object.metainfo.version;
      return nftables;
    }
    throw notUnderstood(argv, v.flatten(listing.issues).root?.join(", ") ?? stdout.slice(0, SHOWN), exitCode);
  }

  /** Asks nft for its version. Throws ProgramError, also if it is too old. */
  async features(): Promise<Features> {
    const argv = [...this.argv, "--version"];
    const { exitCode, stdout, stderr } = await run(argv, { deadline: deadlineFor() });
    const version = /v(\d+\.\d+(\.\d+)?)/.exec(stdout)?.[1];
    if (exitCode !== 0 || version === undefined) throw failure(argv, { exitCode, stderr });
    this.#version = version;
    return featuresOf(version);
  }

  /** A known problem of this nft, as a sentence; undefined if there is none, or its version is not known yet. */
  get caution(): string | undefined {
    if (this.#version === undefined || !crashesBesideNewer(this.#version)) return undefined;
    return `nft ${this.#version} crashes if a newer nft on this node declares a set by its type, as kube-proxy does; install nft 1.1.3 or later`;
  }

  /**
   * The error of {@link attempt} or `build`, with the command that was refused. Finding it takes several runs of nft.
   */
  async explained(error: unknown): Promise<unknown> {
    const commands = error instanceof ProgramError ? this.#attempted.get(error) : undefined;
    if (!(error instanceof ProgramError) || commands === undefined) return error;
    return blaming(error, await this.#blamed(commands));
  }

  /** Sends commands that may be spread over several transactions, each set before its elements. */
  async build(commands: readonly Command[]): Promise<void> {
    if (commands.length === 0) return;
    try {
      for (const batch of batches(commands, this.#elementsAtOnce)) await this.attempt(batch);
    } catch (error) {
      if (failureKind(error) !== "too-large" || this.#elementsAtOnce === FEW_ELEMENTS) throw error;
      this.#elementsAtOnce = FEW_ELEMENTS;
      await this.build(commands);
    }
  }

  /** Sends commands as one transaction: all of them take effect, or none. Throws ProgramError. */
  async commit(commands: readonly Command[]): Promise<void> {
    try {
      await this.attempt(commands);
    } catch (error) {
      throw await this.explained(error);
    }
  }

  /** As `commit`, without the search for the refused command. */
  async attempt(commands: readonly Command[]): Promise<void> {
    const failed = await this.#send(document(commands));
    if (!failed) return;
    const error = failure(failed.argv, failed);
    this.#attempted.set(error, commands);
    throw error;
  }

  /** Tests commands without taking effect. Throws ProgramError if nft or the kernel refuses them. */
  async check(commands: readonly Command[]): Promise<void> {
    const failed = await this.#send(document(commands), "--check");
    if (failed) throw failure(failed.argv, failed);
  }

  /**
   * Up to 1.0.9 nft exits with 0 even if it could not read its input; so anything that it prints on standard
   * error is a failure.
   */
  async #send(text: string, ...options: string[]): Promise<Failed | undefined> {
    const argv = [...this.argv, ...options, "-j", "-f", "-"];
    this.#size = Math.max(this.#size, text.length);
    const { exitCode, stderr } = await run(argv, { input: text, deadline: deadlineFor(text.length) });
    return exitCode === 0 && stderr === "" ? undefined : { argv, exitCode, stderr };
  }

  /**
   * The command that is to blame for a refusal. nft does not say which one of a JSON document it was: it is
   * the last one of the shortest beginning that is refused too, found by halving, with --check.
   */
  async #blamed(commands: readonly Command[]): Promise<Command | undefined> {
    let accepted = 0;
    let refused = commands.length;
    while (refused - accepted > 1) {
      const half = (accepted + refused) >> 1;
      if (await this.#send(document(commands.slice(0, half)), "--check")) refused = half;
      else accepted = half;
    }
    return commands[refused - 1];
  }
}

/** What nft printed. */
interface Answer {
  readonly argv: readonly string[];
  readonly exitCode: number;
  readonly stdout: string;
}

/** How much of an answer that is not understood is shown, in characters. */
const SHOWN = 80;

function notUnderstood(argv: readonly string[], why: string, exitCode: number): ProgramError {
  const remedy = "please report this with the version of nft";
  return new ProgramError(
    "incompatible",
    argv.join(" "),
    `printed unexpected output: ${why}`,
    remedy,
    exitCode,
  );
}

interface Failed {
  readonly argv: readonly string[];
  readonly exitCode: number;
  readonly stderr: string;
}

/** Commands as the text of one libnftables-json document. */
export function document(commands: readonly Command[]): string {
  return JSON.stringify({ nftables: [{ metainfo: { json_schema_version: 1 } }, ...commands] });
}

const FEW_ELEMENTS = 1000;

/** Parts of a rule's text that change by themselves. */
const COUNTS = / packets \d+ bytes \d+| used \d+ \w+/g;

/** Whether nft reads the name as one word. It refuses its own keywords. */
function isPlain(name: string): boolean {
  return /^[A-Za-z][\w.-]*$/.test(name);
}

/** Printed for a foreign rule that has no form in JSON (`jump { … }`); it is listed in nft's syntax. */
const UNPRINTABLE = /^warning: stmt ops \w+ have no json callback\n?/gm;

function batches(commands: readonly Command[], elementsAtOnce: number): Command[][] {
  const parts = commands.flatMap(command => split(command, elementsAtOnce));
  if (!Number.isFinite(elementsAtOnce)) return [parts];
  return parts.map(part => [part]);
}

/** A set with more elements than may be sent at once gets the others by commands of their own. */
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

function failure(argv: readonly string[], { exitCode, stderr }: Omit<Failed, "argv">): ProgramError {
  const said = stderr
    .split("\n")
    .map(line => line.replace(/^internal:0:0-0: /, "").trim())
    .filter(line => line !== "");
  const what = [...new Set(said)].join(" ") || `ended with exit status ${exitCode}`;
  const kind = KINDS.find(([pattern]) => pattern.test(what))?.[1] ?? "refused";
  return new ProgramError(kind, argv.join(" "), what, HINTS[kind] ?? "", exitCode);
}

function blaming({ kind, command, what, remedy, exitCode }: ProgramError, blamed?: Command): ProgramError {
  const at = blamed ? ` (at ${JSON.stringify(blamed).slice(0, 200)})` : "";
  return new ProgramError(kind, command, what + at, remedy, exitCode);
}

/** What nft says of an object that does not exist. */
const MISSING = "No such file or directory";

/** By strerror(3), which nft prints in the C locale. */
const KINDS: readonly (readonly [said: RegExp, kind: FailureKind])[] = [
  [/not permitted|Permission denied/, "not-permitted"],
  [/Message too long/, "too-large"],
  [/No such file|not supported|Protocol error|[Ff]amily not supported/, "unsupported"],
  [/resource busy/, "busy"],
  [/Cannot allocate memory|No buffer space|Too many open files/, "exhausted"],
];

const HINTS: { readonly [kind in FailureKind]?: string } = {
  "not-permitted": "run as root, or with the capability NET_ADMIN",
  unsupported: "the kernel may lack a module: see lsmod for nf_tables, nft_masq, nft_fib, nft_numgen",
};
