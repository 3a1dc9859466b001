import type { Cidr, Family } from "../net/cidr.ts";
import type { Verdict } from "../net/verdict.ts";
import type { Origin } from "../policy/policy.ts";

/** Why the policy does not judge a connection. */
export type Exemption = "node" | "group" | "hairpin" | "zone";

/** Why it is unknown whether a connection contradicts the policy. */
type Doubt = "service" | "mark" | "interface";

/** The source address that the peer sees: the connection's own, another, or its own, which belongs to the node. */
type SourceSeen = "kept" | "masqueraded" | "node";

/**
 * The judgement on a live connection.
 *
 * - `agrees`: its peer sees the address that the policy asks for or, if the source or the interface is not selected,
 *   that a foreign rule gives
 * - `stale`: its peer sees another address, because the connection is older than the policy
 * - `overruled`: its peer sees another address, and a foreign rule also gives it to a new connection
 * - `ended`: it has no more packets that NAT could change, but its entry and its source port are still in use
 */
export type Judgement =
  | { readonly exempt: Exemption }
  | {
      readonly row: Row;
      readonly has: SourceSeen;
      readonly outcome: "agrees" | "stale" | "overruled" | "ended" | Doubt;
    };

/** The destinations of one row of a table: a CIDR that decides, or all other addresses of a family. */
export interface Row {
  readonly family: Family;
  readonly cidr: Cidr | undefined;
  /** The verdict on these destinations. A source or an interface can change it for single connections. */
  readonly verdict: Verdict;
  readonly origin: Origin | undefined;
}
