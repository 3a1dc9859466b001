/**
 * The part of libnftables-json(5) that this program sends or reads. Where nft has several spellings, the parsed form
 * has one: a single flag becomes a list. Everything else becomes `{ unknown }`, which is compared and shown, but never
 * sent.
 */
import * as v from "valibot";
import { canonicalAddress, type Family } from "../net/cidr.ts";
import { Flags, Match, Payload, Prefix, Range, Selector, Unknown } from "./json-match.ts";

const TableFamily = v.picklist(["ip", "ip6", "inet"]);

const Count = v.strictObject({ packets: v.number(), bytes: v.number() });

const Statement = v.union([
  v.custom<UsualStatement>(isUsualStatement),
  Match,
  /** Anonymous, or the name of a counter of the table. */
  v.strictObject({ counter: v.union([v.null(), v.string(), Count]) }),
  v.strictObject({ jump: v.strictObject({ target: v.string() }) }),
  v.strictObject({ goto: v.strictObject({ target: v.string() }) }),
  v.strictObject({ return: v.null() }),
  v.strictObject({ drop: v.null() }),
  v.strictObject({
    masquerade: v.nullable(
      v.strictObject({
        flags: v.optional(Flags),
        port: v.optional(v.union([v.number(), Range])),
      }),
    ),
  }),
  /** To a fixed address, or to an address of the packet. Other translations are unknown. */
  v.strictObject({
    snat: v.strictObject({
      addr: v.union([Payload, v.pipe(v.string(), v.transform(canonicalAddress))]),
      flags: v.optional(Flags),
      port: v.optional(v.union([v.number(), Range])),
    }),
  }),
  Unknown,
]);

const SetElement = v.union([
  v.strictObject({
    elem: v.strictObject({
      val: v.union([Prefix, v.string(), Range]),
      comment: v.optional(v.string()),
      counter: v.optional(v.nullable(Count)),
    }),
  }),
  Prefix,
  v.string(),
  Range,
  Unknown,
]);

const Table = v.object({
  family: TableFamily,
  name: v.string(),
  handle: v.optional(v.number()),
  flags: v.optional(Flags),
});

const NamedSet = v.object({
  family: TableFamily,
  table: v.string(),
  name: v.string(),
  handle: v.optional(v.number()),
  /** A data type, or an expression whose type the set has. */
  type: v.union([v.string(), v.object({ typeof: Selector }), Unknown]),
  flags: v.optional(Flags),
  elem: v.optional(v.array(SetElement)),
  /** Statements that each element has, such as a counter. */
  stmt: v.optional(v.array(Statement)),
});

const Chain = v.object({
  family: TableFamily,
  table: v.string(),
  name: v.string(),
  type: v.optional(v.string()),
  hook: v.optional(v.string()),
  prio: v.optional(v.number()),
  policy: v.optional(v.string()),
});

const Rule = v.object({
  family: TableFamily,
  table: v.string(),
  chain: v.string(),
  handle: v.optional(v.number()),
  comment: v.optional(v.string()),
  expr: v.array(Statement),
});

const NamedCounter = v.object({
  family: TableFamily,
  table: v.string(),
  name: v.string(),
  handle: v.optional(v.number()),
  packets: v.optional(v.number()),
  bytes: v.optional(v.number()),
});

/** An object of another kind: a map, a flowtable, a quota. */
const Other = v.pipe(
  v.record(v.string(), v.object({ family: v.string(), table: v.string(), name: v.string() })),
  v.transform(it => {
    const [kind = "", object] = Object.entries(it)[0] ?? [];
    return { other: { kind, name: object?.name ?? "" } };
  }),
);

/** One object in a listing of nft. Rules come first, because there may be thousands. */
const NftObject = v.union([
  v.object({ rule: Rule }),
  v.object({ metainfo: v.object({ version: v.string() }) }),
  v.object({ table: Table }),
  v.object({ set: NamedSet }),
  v.object({ chain: Chain }),
  v.object({ counter: NamedCounter }),
  Other,
  Unknown,
]);

const ListedObjects = v.object({ nftables: v.array(NftObject) });

/** Throws ValiError if the text is not the output of `nft -j list`. */
export function parseListing(text: string): readonly NftObject[] {
  const listing: unknown = v.parse(v.pipe(v.string(), v.parseJson()), text);
  const elements = detachElements(listing);
  const { nftables } = v.parse(ListedObjects, listing);
  for (const object of nftables) {
    if (!("set" in object)) continue;
    const { family, table, name } = object.set;
    const elem = elements.get(`${family} ${table} ${name}`);
    if (elem) object.set.elem = elem.map(it => (isUsualElement(it) ? it : v.parse(SetElement, it)));
  }
  return nftables;
}

/** Takes the elements out of the sets of a listing: the schema would need most of the time for them. */
function detachElements(listing: unknown): Map<string, readonly unknown[]> {
  const found = new Map<string, readonly unknown[]>();
  if (!isObject(listing) || !Array.isArray(listing.nftables)) return found;
  for (const object of listing.nftables) {
    const set: unknown = isObject(object) ? object.set : undefined;
    if (!isObject(set) || !Array.isArray(set.elem)) continue;
    found.set(`${set.family} ${set.table} ${set.name}`, set.elem);
    delete set.elem;
  }
  return found;
}

type UsualElement = {
  elem: { val: { prefix: { addr: string; len: number } } | string; comment?: string; counter?: Count };
};

/** Whether an element is a prefix or an address, with a comment and a counter at most. */
function isUsualElement(it: unknown): it is UsualElement {
  if (!isObject(it) || !isObject(it.elem)) return false;
  const { val, comment, counter, ...others } = it.elem;
  for (const _ in others) return false;
  return (
    (typeof val === "string" || (isObject(val) && isPrefix(val.prefix) && Object.keys(val).length === 1)) &&
    (comment === undefined || typeof comment === "string") &&
    (counter === undefined || isCount(counter))
  );
}

type UsualStatement =
  | {
      match: {
        op: string;
        left: { payload: { protocol: Family; field: string } };
        right: string | v.InferOutput<typeof Prefix>;
      };
    }
  | { counter: Count }
  | { return: null };

/**
 * Whether a statement is a match of an address, counts or returns. A chain may have thousands of rules with these, and
 * the schema would need most of the time for them.
 */
function isUsualStatement(it: unknown): boolean {
  if (!isObject(it)) return false;
  const [key, ...others] = Object.keys(it);
  if (others.length > 0) return false;
  if (key === "counter") return isCount(it.counter) && hasKeys(it.counter, 2);
  if (key === "return") return it.return === null;
  const { match } = it;
  if (!isObject(match) || !hasKeys(match, 3) || typeof match.op !== "string") return false;
  const { left, right } = match;
  if (!isObject(left) || !hasKeys(left, 1) || !isObject(left.payload) || !hasKeys(left.payload, 2))
    return false;
  const { protocol, field } = left.payload;
  if ((protocol !== "ip" && protocol !== "ip6") || typeof field !== "string") return false;
  if (typeof right === "string") return true;
  return isObject(right) && hasKeys(right, 1) && isPrefix(right.prefix) && hasKeys(right.prefix, 2);
}

function hasKeys(it: unknown, count: number): boolean {
  return isObject(it) && Object.keys(it).length === count;
}

function isPrefix(it: unknown): boolean {
  return isObject(it) && typeof it.addr === "string" && typeof it.len === "number";
}

function isCount(it: unknown): boolean {
  return isObject(it) && typeof it.packets === "number" && typeof it.bytes === "number";
}

function isObject(it: unknown): it is Record<string, unknown> {
  return typeof it === "object" && it !== null;
}

/** A base chain, as nft lists it without rules. */
export const BaseChain = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ chain: v.required(v.omit(Chain, ["policy"]), ["type", "hook", "prio"]) }),
);
export type BaseChain = v.InferOutput<typeof BaseChain>["chain"];

export type TableFamily = v.InferOutput<typeof TableFamily>;
export type Count = v.InferOutput<typeof Count>;
export type Statement = v.InferOutput<typeof Statement>;
export type SetElement = v.InferOutput<typeof SetElement>;
export type NamedSet = v.InferOutput<typeof NamedSet>;
export type NftObject = v.InferOutput<typeof NftObject>;

/** A command that can be sent. */
export type Command =
  | { add: { table: v.InferOutput<typeof Table> } }
  /** Refused if the object exists. */
  | { create: { table: v.InferOutput<typeof Table> } }
  | { create: { chain: v.InferOutput<typeof Chain> } }
  | { add: { set: NamedSet } }
  | { add: { element: { family: TableFamily; table: string; name: string; elem: readonly SetElement[] } } }
  | { add: { chain: v.InferOutput<typeof Chain> } }
  | { add: { rule: v.InferOutput<typeof Rule> } }
  /** Before the rule with the handle; without a handle, before all rules of the chain. */
  | { insert: { rule: v.InferOutput<typeof Rule> } }
  | { add: { counter: v.InferOutput<typeof NamedCounter> } }
  | { delete: { rule: { family: Family; table: string; chain: string; handle: number } } }
  | { flush: { chain: { family: Family; table: string; name: string } } }
  | { delete: Record<string, { family: Family; table?: string; name: string }> };
