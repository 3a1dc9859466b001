import type { Family } from "../net/cidr.ts";
import type { FamilyPolicy, Policy } from "../policy/policy.ts";
import type { Host } from "../system/host.ts";
import type { Backend } from "./backend.ts";

/**
 * What the rest of ipmasq needs to know about a backend before a writer is chosen. Each backend is a folder and one
 * line in `backends.ts`.
 */
export interface BackendKind {
  /** As in `--backend`. */
  readonly name: string;
  /** The name of the program that the backend needs, for messages. */
  readonly program: string;
  /**
   * Whether a foreign rule that exempts a connection in table `nat` also exempts it from the rules of this backend, as
   * with ip-masq-agent. If foreign rules exempt connections, `--backend=auto` avoids a backend that does not preserve
   * the exemption.
   */
  readonly preservesExemptions: boolean;
  /** A backend for each installed writer, preferred ones first. */
  writers(host: Host, chain?: string): Promise<readonly Backend[]>;
  /** Chooses among these writers. Throws ProgramError if the backend cannot work without one of them. */
  choose(host: Host, writers: readonly Backend[]): Promise<WriterChoice>;
  /**
   * The rules of a policy as documents for an empty kernel, by `--format` of `ipmasq render`. `family` applies to
   * formats with one family per document.
   */
  readonly documents: Readonly<Record<string, (policy: Policy, family: Family) => string>>;
  /** The rules of a policy, one per line, as the tools of this backend print them, without the origins of CIDRs. */
  desired(policy: Policy): string[];
  /** The chains of a policy in one family, to find the rule for a verdict. */
  chains(policy: Policy, family: FamilyPolicy): Chains;
}

/** The chains with the rules of one family. */
export interface Chains {
  /** The base chain, which excludes the node itself. */
  readonly base: string;
  /** The chain that checks sources and output interfaces. */
  readonly check: string;
  /** The chain that checks destinations. */
  readonly verdict: string;
  /** The chain that masquerades. */
  readonly outbound: string;
  /** The chain that binds kept connections to their source, and the one that does so by destination, if there are any. */
  readonly enforce?: string;
  readonly enforceDestinations?: string;
  /** Whether the base chain also excludes broadcast. Otherwise a separate rule excludes it. */
  readonly excludesBroadcast: boolean;
  /** Whether the rules that lead to `verdict` exclude the excluded interfaces. Otherwise a separate rule excludes each. */
  readonly excludesInterfaces: boolean;
  /** Whether the rules for exempt traffic exist even if the policy masquerades no connection of this family. */
  readonly alwaysExempts: boolean;
}

export interface WriterChoice {
  readonly backend: Backend;
  readonly reason: string;
}
