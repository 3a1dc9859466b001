import { FAMILIES, type Family } from "../../net/cidr.ts";
import { ProgramError } from "../../system/program.ts";
import { type IptablesCommands, legacyTables } from "../../xtables/commands.ts";
import type { LegacyReader } from "../../xtables/legacy-reader.ts";
import { POSTROUTING, parseSaved, type Saved } from "../../xtables/save.ts";
import type { Watch } from "../backend.ts";
import { ownChainNames } from "../ownership.ts";
import { readOwnChains } from "./own-chains.ts";
import { changesTo, restoreInput } from "./restore.ts";

/** Our chains in table `nat` of one family, and the input of iptables-restore that removes them. */
export interface OwnRules {
  readonly family: Family;
  readonly saved: Saved;
  readonly removal: string;
}

/** Reads and writes our chains in table `nat` with the programs of iptables. All methods throw ProgramError. */
export class NatTable {
  readonly #commands: IptablesCommands;
  readonly #chain: string;
  readonly #readers = new Map<Family, LegacyReader>();
  /** The last fingerprints, and the rules that they were made from. */
  readonly #fingerprints = new Map<Family, { readonly seen: string; readonly fingerprint: string }>();

  /** @param chain the agent's chain, which is ours even if it contains other rules */
  constructor(commands: IptablesCommands, chain: string) {
    this.#commands = commands;
    this.#chain = chain;
  }

  /** Throws if the programs for a family are not installed. */
  require(family: Family): void {
    if (this.#commands.has(family)) return;
    const remedy = family === "ip" ? "install iptables" : "install ip6tables, or turn IPv6 off";
    throw new ProgramError("not-found", this.#commands.saveProgram(family), "is not installed", remedy);
  }

  /** POSTROUTING, the chains with these names, and chains that are recognisably ours. */
  read(family: Family, names: readonly string[]): Promise<Saved> {
    return explainingErrors(readOwnChains(this.#commands.reader(family), names));
  }

  /** The texts of the rules in POSTROUTING. */
  async postrouting(family: Family): Promise<readonly string[]> {
    const rules = await explainingErrors(this.#commands.chain(family, POSTROUTING));
    return (rules ?? []).map(({ text }) => text);
  }

  /**
   * A text that changes with the rules that `read` reads, but not with their counts. Rules of iptables-legacy are parsed
   * only if they differ from the last ones.
   */
  async fingerprint(family: Family, names: readonly string[]): Promise<string> {
    if (this.#commands.variant !== "iptables-legacy") return fingerprintOf(await this.read(family, names));
    const text = await this.#readers.get(family)?.read();
    const seen = text === undefined ? undefined : `${Bun.hash(text)} ${names.join()}`;
    const last = this.#fingerprints.get(family);
    if (seen !== undefined && last?.seen === seen) return last.fingerprint;
    const { chains } = parseSaved(await explainingErrors(this.#commands.text(family)));
    const fingerprint = fingerprintOf(await readOwnChains(async chain => chains.get(chain), names));
    if (seen !== undefined) this.#fingerprints.set(family, { seen, fingerprint });
    return fingerprint;
  }

  /** Keeps programs running that read the rules of iptables-legacy for `fingerprint`, until it is stopped. */
  keepReading(): Watch {
    for (const family of FAMILIES) this.#readers.set(family, this.#commands.legacyReader(family));
    const readers = [...this.#readers.values()];
    return {
      stop: () => {
        for (const reader of readers) reader.stop();
      },
    };
  }

  /** Our rules, independent of the policy. */
  async find(families: readonly Family[]): Promise<OwnRules[]> {
    const { variant, host } = this.#commands;
    const found: OwnRules[] = [];
    for (const family of families) {
      if (!this.#commands.has(family)) continue;
      if (variant === "iptables-legacy" && !(await legacyTables(host, family)).has("nat")) continue;
      const names = new Set([...ownChainNames(this.#chain), ...ownChainNames()]);
      const saved = await this.read(family, [...names]);
      const changes = changesTo(saved, undefined, this.#chain);
      if (changes) found.push({ family, saved, removal: restoreInput(saved, changes) });
    }
    return found;
  }

  /** Tests the input of iptables-restore. */
  test(family: Family, input: string): Promise<void> {
    return explainingErrors(this.#commands.test(family, input));
  }

  /** Writes. A leftover chain that foreign rules jump to is emptied, not deleted. */
  async restore(family: Family, input: string): Promise<void> {
    try {
      await this.#commands.restore(family, input);
    } catch (error) {
      const withoutDeletions = input.replace(/^-X .*\n/gm, "");
      if (!(error instanceof ProgramError) || withoutDeletions === input) throw explained(error);
      await explainingErrors(this.#commands.restore(family, withoutDeletions));
    }
  }
}

/** A hash of the rules without their counts. */
export function fingerprintOf({ chains }: Saved): string {
  const lines = [...chains].flatMap(([name, rules]) => [`:${name}`, ...rules.map(({ text }) => text)]);
  return `${Bun.hash(lines.join("\n"))}`;
}

async function explainingErrors<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw explained(error);
  }
}

/** The same error with a remedy for rules that iptables cannot read. */
function explained(error: unknown): unknown {
  if (!(error instanceof ProgramError) || error.kind !== "incompatible") return error;
  const { kind, command, what, exitCode } = error;
  const remedy =
    "if these are rules of ipmasq, run ipmasq cleanup; or start the agent with --backend=nftables";
  return new ProgramError(kind, command, what, remedy, exitCode);
}
