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
import { type Counted, POSTROUTING, parseChain, parseSaved, type ReadChain, type Saved } from "./save.ts";

/** How long a change waits for the lock of iptables-legacy, in seconds. */
const LOCK_WAIT_S = 10;

/** The two programs that are called iptables: one writes nftables, the other the older xtables. */
export type Variant = "iptables-nft" | "iptables-legacy";

/** The programs of one variant of iptables. */
export class IptablesCommands {
  /**
   * @param suffix `-nft` or `-legacy`, or nothing where only the plain names are there
   * @param randomFully whether iptables knows `--random-fully`
   * @param limits of each run that reads rules
   */
  constructor(
    readonly variant: Variant,
    readonly suffix: string,
    readonly randomFully: boolean,
    readonly programs: Host,
    readonly lockWait = LOCK_WAIT_S,
    readonly limits: RunLimits = {},
  ) {}

  /** Whether there are programs for a family. */
  has(family: Family): boolean {
    return this.programs.has(`${NAMES[family]}${this.suffix}-save`);
  }

  /** Throws ProgramError if programs for a family are not there. */
  require(family: Family): void {
    if (this.has(family)) return;
    const remedy = family === "ip" ? "install iptables" : "install ip6tables, or leave --enable-ipv6 away";
    throw new ProgramError("not-found", `${NAMES[family]}${this.suffix}-save`, "is not installed", remedy);
  }

  /** What table `nat` holds. Throws ProgramError. */
  async save(family: Family): Promise<Saved> {
    const argv = [
      ...this.programs.argv(`${NAMES[family]}${this.suffix}-save`),
      "--counters",
      "--table",
      "nat",
    ];
    const ended = await run(argv, { deadline: deadlineFor(), ...this.limits });
    if (ended.exitCode !== 0) throw failure(argv, ended);
    if (ended.stdout.includes(INCOMPATIBLE)) throw incompatible(argv, family, 0);
    return parseSaved(ended.stdout);
  }

  /**
   * The rules of one chain of table `nat`; undefined if the chain does not exist. Throws ProgramError, also if the chain
   * has rules that nft wrote and iptables cannot read.
   *
   * With iptables-nft the cost does not depend on the rest of the table: 3 ms beside 64,000 rules (iptables 1.8.7 to
   * 1.8.13). iptables-legacy fetches the whole table from the kernel whatever it is asked for: 120 ms and 78 MB.
   */
  async chain(family: Family, chain: string): Promise<readonly Counted[] | undefined> {
    const legacy = this.variant === "iptables-legacy";
    if (legacy && !(await legacyTables(this.programs, family)).has("nat")) return undefined;
    const program = this.programs.argv(`${NAMES[family]}${this.suffix}`);
    // Without --wait iptables-legacy 1.8.9 waits for the lock without end.
    const argv = [...program, "--table", "nat", "--list-rules", chain, "--verbose", "--wait=1"];
    const ended = await run(argv, { deadline: deadlineFor(), ...this.limits });
    if (ended.exitCode === 0) return parseChain(ended.stdout, chain);
    if (ended.stderr.includes("No chain/target/match by that name")) return undefined;
    // Another program holds the lock of iptables-legacy, or it cannot be opened. iptables-save does not need it.
    if (legacy && ended.exitCode === LOCKED) return (await this.save(family)).chains.get(chain);
    if (!`${ended.stdout}${ended.stderr}`.includes(INCOMPATIBLE)) throw failure(argv, ended);
    // Up to 1.8.9 that is also the answer for a chain that does not exist; POSTROUTING always exists.
    const exists = chain === POSTROUTING || (await this.#nftHas(family, chain));
    if (!exists) return undefined;
    throw incompatible(argv, family, ended.exitCode);
  }

  /**
   * Reads chains of table `nat` as {@link IptablesCommands.chain} does. iptables-legacy is asked once for all of them, for it fetches
   * the whole table each time.
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
    if (!this.programs.has("nft")) return false;
    const nft = new Nft(this.programs.argv("nft"), { deadline: NFT_MS, ...this.limits });
    // If nft fails, the chain counts as missing: writing it then empties it first.
    return nft.chain(family, "nat", chain).then(
      found => found !== undefined,
      () => false,
    );
  }

  /**
   * What iptables-save prints, of one table or of all that are in use; nothing if iptables-nft fails. Does not create a
   * table that iptables-legacy does not use yet. Throws ProgramError if iptables-legacy lacks permission to read its
   * tables.
   */
  async print(family: Family, table?: string, limits = this.limits): Promise<string> {
    if (!this.has(family)) return "";
    const idle = async (name: string) => !(await legacyTables(this.programs, family)).has(name);
    if (table !== undefined && this.variant === "iptables-legacy" && (await idle(table))) return "";
    const program = this.programs.argv(`${NAMES[family]}${this.suffix}-save`);
    const argv = [...program, ...(table === undefined ? [] : ["--table", table])];
    const ended = await run(argv, { deadline: deadlineFor(), ...limits });
    if (ended.exitCode !== 0 && this.variant === "iptables-legacy") throw failure(argv, ended);
    return ended.stdout;
  }

  /** Tests what `restore` would do without writing. Throws ProgramError. */
  async test(family: Family, input: string): Promise<void> {
    const program = this.programs.argv(`${NAMES[family]}${this.suffix}-restore`);
    const argv = [...program, "--noflush", "--test", `--wait=${this.lockWait}`];
    const ended = await run(argv, { input, deadline: 1000 * this.lockWait + deadlineFor(input.length) });
    if (ended.exitCode !== 0) throw failure(argv, ended, input);
  }

  /** Changes table `nat`, all of it or nothing, as `iptables-restore --noflush` reads it. Throws ProgramError. */
  async restore(family: Family, input: string): Promise<void> {
    const program = this.programs.argv(`${NAMES[family]}${this.suffix}-restore`);
    const argv = [...program, "--noflush", "--counters", `--wait=${this.lockWait}`];
    const ended = await run(argv, { input, deadline: 1000 * this.lockWait + deadlineFor(input.length) });
    if (ended.exitCode !== 0) throw failure(argv, ended, input);
  }
}

const NAMES: Readonly<Record<Family, string>> = { ip: "iptables", ip6: "ip6tables" };

/** The tables that iptables-legacy has in use. To look at one with its programs would bring it in. */
export async function legacyTables({ read }: Host, family: Family): Promise<ReadonlySet<string>> {
  const text = await read(`/proc/net/${family === "ip" ? "ip" : "ip6"}_tables_names`);
  return new Set(text.split("\n").filter(Boolean));
}

/** How long nft may take to say whether there is a chain, in milliseconds; it takes 4. */
const NFT_MS = 2000;

/** What iptables-nft says of rules that it cannot read. */
const INCOMPATIBLE = "is incompatible, use 'nft' tool";

/** The exit code of iptables if it does not get the lock of iptables-legacy. */
const LOCKED = 4;

function incompatible(argv: readonly string[], family: Family, exitCode: number): ProgramError {
  return new ProgramError(
    "incompatible",
    argv.join(" "),
    `table ${family} nat has native nft rules, which iptables cannot read`,
    "run ipmasq cleanup if they are ours, or start the agent with --backend=nftables",
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

/** What the programs of iptables print, what kind of failure that is, and what the user can do. */
const FAILURES: readonly { readonly said: RegExp; readonly kind: FailureKind; readonly remedy: string }[] = [
  {
    said: /open lock file/,
    kind: "not-permitted",
    remedy: "mount the node's /run/xtables.lock here: all programs of iptables-legacy on a node share it",
  },
  {
    said: /permission denied|must be root|not permitted/i,
    kind: "not-permitted",
    remedy: "run as root, or with the capability NET_ADMIN, and for iptables-legacy NET_RAW",
  },
  {
    said: /xtables lock/,
    kind: "busy",
    remedy: "another program holds the lock of iptables: see who has /run/xtables.lock open",
  },
  {
    said: /incompatible/,
    kind: "incompatible",
    remedy: "remove the native nft rules from table nat, or start the agent with --backend=nftables",
  },
  {
    said: /Table does not exist|[Ff]amily not supported|[Pp]rotocol not supported|can't initialize/,
    kind: "unsupported",
    remedy: "the kernel may lack a module: see lsmod for ip_tables, iptable_nat, ip6table_nat, nf_tables",
  },
];
