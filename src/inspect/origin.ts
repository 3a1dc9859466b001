import * as v from "valibot";
import type { Origin } from "../policy/policy.ts";

/** The origin of a CIDR as JSON. */
export const OriginJson = v.union([
  v.object({ file: v.string(), line: v.number(), column: v.number() }),
  v.object({ default: v.literal(true) }),
  v.object({ flag: v.string() }),
]);
export type OriginJson = v.InferOutput<typeof OriginJson>;

export function originJson(origin: Origin): OriginJson {
  if (origin.kind === "default") return { default: true };
  if (origin.kind === "flag") return { flag: origin.flag };
  return { file: origin.file, line: origin.line, column: origin.column };
}
