import type { Family } from "../net/cidr.ts";
import { type Mark, WHOLE_MARK } from "../net/mark.ts";
import type { Statement } from "./json.ts";

/**
 * Binds a connection to its source: a translation to the same address and port, after which no later NAT chain is asked
 * (measured on kernel 6.18).
 */
export function bindSource(family: Family): Statement {
  return { snat: { addr: { payload: { protocol: family, field: "saddr" } } } };
}

/** Matches packets with a mark. */
export function withMark({ value, mask }: Mark): Statement {
  const mark: { meta: { key: string } } = { meta: { key: "mark" } };
  return { match: { op: "==", left: mask === WHOLE_MARK ? mark : { "&": [mark, mask] }, right: value } };
}
