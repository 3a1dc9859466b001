import type { Family } from "../net/cidr.ts";
import { Nft } from "../nft/nft.ts";
import type { Host } from "../system/host.ts";
import {
  deadlineFor,
  type FailureKind,
  ProgramError,
  type ProgramResult,
  type RunLimits,
  run,
} from "../system/program.ts";
import { LegacyReader } from "./legacy-reader.ts";
import {
  type Counted,
  POSTROUTING,
  parseChain,
  parseSaved,
  type ReadChain,
  type Saved,
  steadyText,
} from "./save.ts";

/** How long a change waits for the lock of iptables-legacy, in seconds. */
const LOCK_WAIT_S = 10;

/** The two variants of iptables: one writes to nftables, the other to the older xtables. */
export type Variant = "iptables-nft" | "iptables-legacy";

/** The programs of one variant of iptables. */
export class IptablesCommands {
  /**
   * @param suffix the ending of the programs' names, `-nft` or `-legacy`; empty if only the plain names are installed
   * @param randomFully whether iptables knows `--random-fully`
   * @param limits the limits of each run that reads rules
   */
  constructor(
    readonly variant: Variant,
    readonly suffix: string,
    readonly randomFully: boolean,
    readonly host: Host,
    readonly lockWait = LOCK_WAIT_S,
    readonly limits: RunLimits = {},
  ) {}

  /** Whether the programs for a family are installed. */
  has(family: Family): boolean {
    return this.host.has(this.saveProgram(family));
  }

  /** The name of the program that reads a family's tables. */
  saveProgram(family: Family): string {
    return `${NAMES[family]}${this.suffix}-save`;
  }

  /** The rules of table `nat`. Throws ProgramError. */
  async save(family: Family): Promise<Saved> {
    return parseSaved(await this.#saved(family, "--counters"));
  }

  /** A text that changes with the rules of table `nat`, but not with their counts. Throws ProgramError. */
  async text(family: Family): Promise<string> {
    return steadyText(await this.#saved(family));
  }

  /** Reads the rules of iptables-legacy repeatedly. It starts its program with the first reading. */
  legacyReader(family: Family): LegacyReader {
    return new LegacyReader(this.host.argv(`${NAMES[family]}${this.suffix}-restore`));
  }

  async #saved(family: Family, ...options: string[]): Promise<string> {
    const argv = [...this.host.argv(this.saveProgram(family)), ...options, "--table", "nat"];
    const ended = await run(argv, { deadline: deadlineFor(), ...this.limits });
    if (ended.exitCode !== 0) throw failure(argv, ended);
    if (ended.stdout.includes(INCOMPATIBLE)) throw incompatible(argv, family, 0);
    return ended.stdout;
  }

  /**
   * The rules of one chain of table `nat`; undefined if the chain does not exist. Throws ProgramError, of kind
   * `incompatible` if the chain has native nft rules that iptables cannot read.
   *
   * With iptables-nft the cost does not depend on the rest of the table: 3 ms beside 64,000 rules (iptables 1.8.7 to
   * 1.8.13). With iptables-legacy it is 120 ms and 78 MB, because that always fetches the whole table from the kernel.
   */
  async chain(family: Family, chain: string): Promise<readonly Counted[] | undefined> {
    const legacy = this.variant === "iptables-legacy";
    if (legacy && !(await legacyTables(this.host, family)).has("nat")) return undefined;
    const program = this.host.argv(`${NAMES[family]}${this.suffix}`);
    // Without --wait, iptables-legacy 1.8.9 waits for the lock forever.
    const argv = [...program, "--table", "nat", "--list-rules", chain, "--verbose", "--wait=1"];
    const ended = await run(argv, { deadline: deadlineFor(), ...this.limits });
    if (ended.exitCode === 0) return parseChain(ended.stdout, chain);
    if (ended.stderr.includes("No chain/target/match by that name")) return undefined;
    // Another program holds the lock of iptables-legacy, or the lock cannot be opened. iptables-save does not need it.
    if (legacy && ended.exitCode === LOCKED) return (await this.save(family)).chains.get(chain);
    if (!`${ended.stdout}${ended.stderr}`.includes(INCOMPATIBLE)) throw failure(argv, ended);
    // iptables up to 1.8.9 prints the same for a chain that does not exist. POSTROUTING always exists.
    const exists = chain === POSTROUTING || (await this.#nftHas(family, chain));
    if (!exists) return undefined;
    throw incompatible(argv, family, ended.exitCode);
  }

  /**
   * Reads chains of table `nat` as {@link IptablesCommands.chain} does. iptables-legacy runs once for all chains,
   * because it fetches the whole table each time.
   */
  reader(family: Family): ReadChain {
    if (this.variant !== "iptables-legacy") return chain => this.chain(family, chain);
    let saved: Promise<Saved> | undefined;
    return async chain => {
      saved ??= this.save(family);
      return (await saved).chains.get(chain);
    };
  }

  async #nftHas(family: Family, chain: string): Promise<boolean> {
    if (!this.host.has("nft")) return false;
    const nft = new Nft(this.host.argv("nft"), { deadline: NFT_MS, ...this.limits });
    // If nft fails, the chain counts as missing: a write then empties the chain first.
    return nft.chain(family, "nat", chain).then(
      found => found !== undefined,
      () => false,
    );
  }

  /**
   * The output of iptables-save for one table, or for all tables in use; empty if iptables-nft fails. Does not create a
   * table that iptables-legacy does not use yet. Throws ProgramError if iptables-legacy lacks permission to read its
   * tables.
   */
  async print(family: Family, table?: string, limits = this.limits): Promise<string> {
    if (!this.has(family)) return "";
    const isUnused = async (name: string) => !(await legacyTables(this.host, family)).has(name);
    if (table !== undefined && this.variant === "iptables-legacy" && (await isUnused(table))) return "";
    const program = this.host.argv(this.saveProgram(family));
    const argv = [...program, ...(table === undefined ? [] : ["--table", table])];
    const ended = await run(argv, { deadline: deadlineFor(), ...limits });
    if (ended.exitCode !== 0 && this.variant === "iptables-legacy") throw failure(argv, ended);
    return ended.stdout;
  }

  /** Tests the input of `restore` without writing. Throws ProgramError. */
  async test(family: Family, input: string): Promise<void> {
    const program = this.host.argv(`${NAMES[family]}${this.suffix}-restore`);
    const argv = [...program, "--noflush", "--test", `--wait=${this.lockWait}`];
    const ended = await run(argv, { input, deadline: 1000 * this.lockWait + deadlineFor(input.length) });
    if (ended.exitCode !== 0) throw failure(argv, ended, input);
  }

  /** Changes table `nat` atomically by `iptables-restore --noflush`. Throws ProgramError. */
  async restore(family: Family, input: string): Promise<void> {
    const program = this.host.argv(`${NAMES[family]}${this.suffix}-restore`);
    const argv = [...program, "--noflush", "--counters", `--wait=${this.lockWait}`];
    const ended = await run(argv, { input, deadline: 1000 * this.lockWait + deadlineFor(input.length) });
    if (ended.exitCode !== 0) throw failure(argv, ended, input);
  }
}

const NAMES: Readonly<Record<Family, string>> = { ip: "iptables", ip6: "ip6tables" };

/** The tables that iptables-legacy uses. Listing another table with its programs would create that table. */
export async function legacyTables({ read }: Host, family: Family): Promise<ReadonlySet<string>> {
  const text = await read(`/proc/net/${family === "ip" ? "ip" : "ip6"}_tables_names`);
  return new Set(text.split("\n").filter(Boolean));
}

/** How long nft may take to look for a chain, in milliseconds. Usually it takes 4 ms. */
const NFT_MS = 2000;

/** Printed by iptables-nft if it cannot read rules. */
const INCOMPATIBLE = "is incompatible, use 'nft' tool";

/** The exit code of iptables-legacy if it does not get its lock. */
const LOCKED = 4;

function incompatible(argv: readonly string[], family: Family, exitCode: number): ProgramError {
  return new ProgramError(
    "incompatible",
    argv.join(" "),
    `table ${family} nat has native nft rules, which iptables cannot read`,
    "remove these rules with nft",
    exitCode,
  );
}

function failure(argv: readonly string[], { exitCode, stderr }: ProgramResult, input = ""): ProgramError {
  const number = /line:? (\d+)/.exec(stderr)?.[1];
  const line = number === undefined ? undefined : input.split("\n")[Number(number) - 1];
  const said = stderr.trim().replace(/\s*\n\s*/g, " ");
  const what = `${said || `exit code ${exitCode}`}${line ? ` (${line})` : ""}`;
  const known = FAILURES.find(({ said }) => said.test(stderr));
  return new ProgramError(known?.kind ?? "refused", argv.join(" "), what, known?.remedy ?? "", exitCode);
}

/** Messages of the iptables programs, with the kind of failure and the remedy. */
const FAILURES: readonly { readonly said: RegExp; readonly kind: FailureKind; readonly remedy: string }[] = [
  {
    said: /open lock file/,
    kind: "not-permitted",
    remedy:
      "mount the node's /run/xtables.lock into the container: all programs of iptables-legacy on a node share it",
  },
  {
    said: /permission denied|must be root|not permitted/i,
    kind: "not-permitted",
    remedy: "run as root, or with the capability NET_ADMIN (iptables-legacy also needs NET_RAW)",
  },
  {
    said: /xtables lock/,
    kind: "busy",
    remedy: "another program holds the lock of iptables: check which one has /run/xtables.lock open",
  },
  {
    said: /incompatible/,
    kind: "incompatible",
    remedy: "remove the native nft rules from table nat with nft",
  },
  {
    said: /Table does not exist|[Ff]amily not supported|[Pp]rotocol not supported|can't initialize/,
    kind: "unsupported",
    remedy: "the kernel may lack a module: check lsmod for ip_tables, iptable_nat, ip6table_nat, nf_tables",
  },
];
