import { type Mark, WHOLE_MARK } from "../net/mark.ts";
import type { Statement } from "./json.ts";

/** Matches packets with a mark. */
export function withMark({ value, mask }: Mark): Statement {
  const mark: { meta: { key: string } } = { meta: { key: "mark" } };
  return { match: { op: "==", left: mask === WHOLE_MARK ? mark : { "&": [mark, mask] }, right: value } };
}
