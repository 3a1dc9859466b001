import * as v from "valibot";

/** An `Origin` of the policy as JSON. */
export const OriginJson = v.union([
  v.object({ file: v.string(), line: v.number(), column: v.number() }),
  v.object({ default: v.literal(true) }),
  v.object({ flag: v.string() }),
]);
