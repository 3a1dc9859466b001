import * as v from "valibot";
import { deadlineFor, failureKind, type RunLimits, run } from "../system/program.ts";
import { ElementReader, type ListedElements } from "./elements.ts";
import { failure, unexpectedOutput } from "./errors.ts";
import { BaseChain, type NftObject, parseListing, type TableFamily } from "./json.ts";
import { type Answer, NftProgram } from "./program.ts";
import type { Element } from "./table.ts";
import { NftTransactions } from "./transactions.ts";
import { crashesBesideNewer, type Features, featuresOf } from "./version.ts";

export interface ChainName {
  readonly family: TableFamily;
  readonly table: string;
  readonly name: string;
}

/** Stands for the flags of a table if nft's listing breaks off there. */
export const UNREADABLE = "unreadable";

/** The flags that tables can have. */
const TABLE_FLAGS: ReadonlySet<string> = new Set(["dormant", "owner", "persist"]);

/** Reads the nftables rules in the kernel through nft. */
export class Nft {
  /** Writes to the tables that this object reads. */
  readonly transactions: NftTransactions;
  readonly #program: NftProgram;
  /** The version that nft's last answer stated. */
  #version: string | undefined;

  /**
   * @param argv the command line that starts nft, such as `["nft"]`
   * @param limits the limits of each run that lists objects
   */
  constructor(
    readonly argv: readonly string[] = ["nft"],
    readonly limits: RunLimits = {},
  ) {
    this.#program = new NftProgram(argv, limits);
    this.transactions = new NftTransactions(this.#program);
  }

  /** All objects of a table; undefined if the table does not exist. Throws ProgramError. */
  async table(family: TableFamily, table: string): Promise<readonly NftObject[] | undefined> {
    const answer = await this.#program.list(["-j", "list", "table", family, table]);
    return answer && this.#parse(answer);
  }

  /**
   * Like {@link table}, without the elements of sets. Throws ProgramError.
   *
   * With 10,000 elements it takes 3 ms of CPU; nft before 1.1 reads the elements nevertheless and takes 40 ms (1.0.6).
   */
  async outline(family: TableFamily, table: string): Promise<readonly NftObject[] | undefined> {
    const answer = await this.#program.list(["-j", "--terse", "list", "table", family, table]);
    return answer && this.#parse(answer);
  }

  /** All chains of the node, without their rules. Throws ProgramError. */
  async chains(): Promise<readonly NftObject[]> {
    const answer = await this.#program.list(["-j", "list", "chains"]);
    return answer ? this.#parse(answer) : [];
  }

  /**
   * The flags of each table that has flags, by `FAMILY NAME`. nft 1.0.6 prints them wrongly as JSON, so unknown flags are
   * read from the text of the table. Throws ProgramError.
   */
  async tableFlags(): Promise<ReadonlyMap<string, readonly string[]>> {
    const answer = await this.#program.list(["-j", "list", "tables"]);
    const tables = answer ? this.#parse(answer) : [];
    const all = new Map<string, readonly string[]>();
    for (const it of tables) {
      if (!("table" in it) || !it.table.flags) continue;
      const { family, name, flags } = it.table;
      const isKnown = flags.every(flag => TABLE_FLAGS.has(flag));
      all.set(`${family} ${name}`, isKnown ? flags : ((await this.#flagsInText(family, name)) ?? flags));
    }
    return all;
  }

  async #flagsInText(family: TableFamily, table: string): Promise<readonly string[] | undefined> {
    if (!isWord(table)) return undefined;
    const { stdout } = await run([...this.argv, "--terse", "list", "table", family, table], this.limits);
    return /^table .*\n\tflags (.*)$/m.exec(stdout)?.[1]?.split(",");
  }

  /**
   * The base chains of one hook and type, in the order of the kernel's listing: by table, the oldest table first.
   * Throws ProgramError.
   *
   * Beside 32,000 chains, nft needs 150 ms, 65 MB and prints 3 MB (1.0.6 to 1.1.7). Only the base chains are parsed.
   */
  async baseChains(type: string, hook: string): Promise<readonly BaseChain[]> {
    const argv = [...this.argv, "-j", "list", "chains"];
    const { exitCode, stdout, stderr } = await run(argv, { deadline: deadlineFor(), ...this.limits });
    if (exitCode !== 0) throw failure({ argv, exitCode, stderr });
    // nft escapes quotes in names, so a name cannot contain this text.
    const hooks = stdout.matchAll(new RegExp(`"hook":\\s*"${hook}"`, "g"));
    const chains = Array.from(hooks, ({ index }) => {
      const text = stdout.slice(stdout.lastIndexOf('{"chain":', index), stdout.indexOf("}}", index) + 2);
      const parsed = v.safeParse(BaseChain, text);
      return parsed.success ? parsed.output.chain : undefined; // of a family without NAT, such as bridge
    });
    return chains.filter(it => it !== undefined).filter(it => it.type === type);
  }

  /**
   * One chain and its rules; undefined if the chain does not exist. Throws ProgramError.
   *
   * The cost does not depend on the rest of the table: 4 ms and 13 MB beside 64,000 rules, where listing the table
   * takes 717 MB (nft 1.0.6 to 1.1.7; 0.9.8 reads all of it). Names that nft's command line would misread (`a;b`,
   * `a#b`, `accept`) are sent as a JSON document.
   */
  async chain(family: TableFamily, table: string, name: string): Promise<readonly NftObject[] | undefined> {
    return this.#object("chain", family, table, name, it => this.#parse(it));
  }

  /** One set with its elements; undefined if the set does not exist. Throws ProgramError. */
  async set(family: TableFamily, table: string, name: string): Promise<readonly NftObject[] | undefined> {
    return this.#object("set", family, table, name, it => this.#parse(it));
  }

  /**
   * The elements of a set, read from nft's text while nft prints it. Undefined if the set does not exist, or if this
   * form does not show its elements exactly; {@link set} then does. Throws ProgramError.
   *
   * With 45,000 elements nft needs 68 to 75 MB for its text, and 123 to 128 MB for JSON (1.0.6 to 1.1.7).
   *
   * @param expected the probable elements, by address
   */
  async elements(
    family: TableFamily,
    table: string,
    name: string,
    expected: readonly Element[],
  ): Promise<ListedElements | undefined> {
    if (!isWord(table) || !isWord(name)) return undefined;
    const reader = new ElementReader(expected);
    const exists = await this.#program.stream(["list", "set", family, table, name], it => reader.add(it));
    return exists ? reader.end() : undefined;
  }

  /** A verdict map as JSON text; undefined if the map does not exist. Throws ProgramError. */
  async map(family: TableFamily, table: string, name: string): Promise<string | undefined> {
    return this.#object("map", family, table, name, ({ stdout }) => stdout);
  }

  /** A text that changes with the rules of some chains, but not with their counters. Throws ProgramError. */
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
    if (!isWord(table) || !isWord(name)) return new Map();
    const { stdout } = await run(
      [...this.argv, "--handle", "list", "chain", family, table, name],
      this.limits,
    );
    const lines = stdout.matchAll(/^\t\t(.*\S) # handle (\d+)$/gm);
    return new Map(Array.from(lines, ([, text = "", handle]) => [Number(handle), text.replace(COUNTS, "")]));
  }

  /**
   * Asks nft for its version. Throws ProgramError, also if the version is too old.
   *
   * @param known the version, if it is known without asking
   */
  async features(known?: Promise<string | undefined>): Promise<Features> {
    const version = (await known) ?? (await this.#askVersion());
    this.#version = version;
    return featuresOf(version);
  }

  async #askVersion(): Promise<string> {
    const argv = [...this.argv, "--version"];
    const { exitCode, stdout, stderr } = await run(argv, { deadline: deadlineFor() });
    const version = /v(\d+\.\d+(\.\d+)?)/.exec(stdout)?.[1];
    if (exitCode !== 0 || version === undefined) throw failure({ argv, exitCode, stderr });
    return version;
  }

  /** Undefined until nft has stated it. */
  get version(): string | undefined {
    return this.#version;
  }

  /** A known problem of this version of nft, as a sentence; undefined without one, or until the version is known. */
  get caution(): string | undefined {
    if (this.#version === undefined || !crashesBesideNewer(this.#version)) return undefined;
    return `nft ${this.#version} crashes if a newer nft on this node declares a set by its type, as kube-proxy does; install nft 1.1.3 or later`;
  }

  async #object<T>(
    kind: "chain" | "set" | "map",
    family: TableFamily,
    table: string,
    name: string,
    read: (answer: Answer) => T,
  ): Promise<T | undefined> {
    if (isWord(table) && isWord(name)) {
      try {
        const answer = await this.#program.list(["-j", "list", kind, family, table, name]);
        return answer && read(answer);
      } catch (error) {
        if (failureKind(error) !== "refused") throw error; // a keyword of nft
      }
    }
    const command = { list: { [kind]: { family, table, name } } };
    const answer = await this.#program.list(["-j", "-f", "-"], JSON.stringify({ nftables: [command] }));
    return answer && read(answer);
  }

  #parse({ argv, exitCode, stdout }: Answer): readonly NftObject[] {
    // nft 1.0.6 reads the flags of a table from invalid memory, which may end the text.
    const text = stdout.replace(/"flags":\s*$/, `"flags": "${UNREADABLE}"}}]}`);
    try {
      const objects = parseListing(text);
      for (const object of objects) if ("metainfo" in object) this.#version = object.metainfo.version;
      return objects;
    } catch (error) {
      if (!v.isValiError(error)) throw error;
      const why = v.flatten(error.issues).root?.join(", ") ?? stdout.slice(0, SHOWN);
      throw unexpectedOutput(argv, why, exitCode);
    }
  }
}

/** The maximum length of unexpected output in an error, in characters. */
const SHOWN = 80;

/** Parts of a rule's text that change by themselves. */
const COUNTS = / packets \d+ bytes \d+| used \d+ \w+/g;

/** Whether nft's command line reads a name as one word. nft also refuses its own keywords. */
function isWord(name: string): boolean {
  return /^[A-Za-z][\w.-]*$/.test(name);
}
