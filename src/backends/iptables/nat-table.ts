import type { Family } from "../../net/cidr.ts";
import { ProgramError } from "../../system/program.ts";
import { type IptablesCommands, legacyTables } from "../../xtables/commands.ts";
import type { Saved } from "../../xtables/save.ts";
import { ownChainNames } from "../ownership.ts";
import { readOwnChains } from "./own-chains.ts";
import { restoreInput } from "./restore.ts";

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

  /** Our rules, independent of the policy. */
  async find(families: readonly Family[]): Promise<OwnRules[]> {
    const { variant, host } = this.#commands;
    const found: OwnRules[] = [];
    for (const family of families) {
      if (!this.#commands.has(family)) continue;
      if (variant === "iptables-legacy" && !(await legacyTables(host, family)).has("nat")) continue;
      const names = new Set([...ownChainNames(this.#chain), ...ownChainNames()]);
      const saved = await this.read(family, [...names]);
      const removal = restoreInput(saved, undefined, this.#chain);
      if (removal !== undefined) found.push({ family, saved, removal });
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
