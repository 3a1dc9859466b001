/** The matches of libnftables-json(5), and the values that they and other objects have. */
import * as v from "valibot";
import { FAMILIES } from "../net/cidr.ts";

/** Anything else, which is compared and shown, but never sent. */
export const Unknown = v.pipe(
  v.unknown(),
  v.transform(it => ({ unknown: JSON.stringify(it) })),
);

/** nft up to 1.1.3 prints a single flag as a string, later versions as a list. */
export const Flags = v.pipe(
  v.union([v.string(), v.array(v.string())]),
  v.transform(it => (typeof it === "string" ? [it] : it)),
);

const AddressFamily = v.picklist(FAMILIES);

/** A CIDR. */
export const Prefix = v.strictObject({ prefix: v.strictObject({ addr: v.string(), len: v.number() }) });

/** Addresses or ports from the first to the last. */
export const Range = v.strictObject({
  range: v.tuple([v.union([v.string(), v.number()]), v.union([v.string(), v.number()])]),
});

const Meta = v.strictObject({ meta: v.strictObject({ key: v.string() }) });

/** A field of the packet's headers. */
export const Payload = v.strictObject({
  payload: v.strictObject({ protocol: AddressFamily, field: v.string() }),
});

/** The left side of a match. */
export const Selector = v.union([
  Payload,
  Meta,
  v.strictObject({ "&": v.tuple([Meta, v.number()]) }),
  v.strictObject({ fib: v.strictObject({ result: v.string(), flags: Flags }) }),
  v.strictObject({ ct: v.strictObject({ key: v.string() }) }),
  v.strictObject({ rt: v.strictObject({ key: v.string() }) }),
  v.strictObject({
    numgen: v.strictObject({ mode: v.string(), mod: v.number(), offset: v.optional(v.number()) }),
  }),
  Unknown,
]);

/** The right side of a match: a literal, `@set`, or a list of literals; `true` for "exists". */
export const Value = v.union([
  v.string(),
  v.number(),
  v.boolean(),
  Prefix,
  Range,
  v.strictObject({ set: v.array(v.union([v.string(), v.number(), Prefix, Range])) }),
  Unknown,
]);

/** nft up to 1.0.9 prints `meta mark & 0xf0000000 == 0x80000000` as a prefix of four bits. */
const PrefixOfBits = v.pipe(
  v.strictObject({
    match: v.strictObject({
      op: v.string(),
      left: Meta,
      right: v.strictObject({ prefix: v.strictObject({ addr: v.number(), len: v.number() }) }),
    }),
  }),
  v.transform(({ match: { op, left, right } }) => {
    const { addr, len } = right.prefix;
    const masked: [typeof left, number] = [left, 2 ** 32 - 2 ** (32 - len)];
    return { match: { op, left: { "&": masked }, right: addr } };
  }),
);

/** A match of a rule. */
export const Match = v.union([
  PrefixOfBits,
  v.strictObject({ match: v.strictObject({ op: v.string(), left: Selector, right: Value }) }),
]);

export type Selector = v.InferOutput<typeof Selector>;
export type Value = v.InferOutput<typeof Value>;
