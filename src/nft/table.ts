import { BITS, Cidr, compareCidrs, type Family } from "../net/cidr.ts";
import type { Count, NamedSet, NftObject, SetElement, Statement } from "./json.ts";

/** A table with address sets and chains, desired or actual. */
export interface Table {
  readonly family: Family;
  readonly name: string;
  /** The kernel's unique number of the table, if it was read from the kernel. */
  readonly handle?: number;
  /** The flags of the table, such as `dormant`, which switches the table off. */
  readonly flags: readonly string[];
  /** Sorted by name. */
  readonly sets: readonly AddressSet[];
  /** Base chains first, then sorted by name. */
  readonly chains: readonly Chain[];
  /** Named counters, sorted by name. */
  readonly counters: readonly NamedCounter[];
  /** Objects of other kinds that nft can delete. */
  readonly others: readonly { readonly kind: string; readonly name: string }[];
}

export interface AddressSet {
  readonly name: string;
  /** The kernel's number within the table, if it was read from the kernel. */
  readonly handle?: number;
  /** The field of a packet that is looked up, `daddr` or `saddr`; for other sets, the type as nft prints it. */
  readonly of: string;
  readonly flags: readonly string[];
  /** Whether each element counts its matches. */
  readonly counting: boolean;
  /** Sorted by address. */
  readonly elements: readonly Element[];
  /** For each element its packets and its bytes, if the set was read from the kernel. */
  readonly counts?: ArrayLike<number>;
}

/** An element has no count, so that a desired set and the actual set can share it. */
export interface Element {
  /** A CIDR; for other elements, the text that nft prints. */
  readonly value: Cidr | string;
  readonly comment?: string;
}

/** A counter that several rules can share, and that survives them. */
interface NamedCounter {
  readonly name: string;
  /** The kernel's number within the table, if it was read from the kernel. */
  readonly handle?: number;
  readonly count?: Count;
}

export interface Chain {
  readonly name: string;
  /** The hook of a base chain; undefined for other chains. */
  readonly hook?: {
    readonly type: string;
    readonly hook: string;
    readonly prio: number;
    readonly policy: string;
  };
  readonly rules: readonly Rule[];
}

export interface Rule {
  readonly comment?: string;
  /** The kernel's number within the table, if it was read from the kernel. */
  readonly handle?: number;
  readonly expr: readonly Statement[];
}

/** The field of a packet that a set's elements are compared with: `daddr` or `saddr`. */
export type FieldOf = (setName: string) => string;

/**
 * Builds a table from a listing. Undefined if the listing has no table.
 *
 * @param fieldOf the fields of sets that are declared by a plain type, because their listing does not name the field
 */
export function tableOf(
  family: Family,
  listed: readonly NftObject[],
  fieldOf: FieldOf = () => "daddr",
): Table | undefined {
  let name = "";
  let flags: readonly string[] | undefined;
  let number: { readonly handle?: number } = {};
  const sets: AddressSet[] = [];
  const chains = new Map<string, Omit<Chain, "rules">>();
  const rules = new Map<string, Rule[]>();
  const counters: NamedCounter[] = [];
  const others: { kind: string; name: string }[] = [];
  for (const object of listed) {
    if ("table" in object) {
      name = object.table.name;
      flags = object.table.flags ?? [];
      number = handle(object.table);
    } else if ("set" in object) sets.push(addressSet(object.set, fieldOf));
    else if ("chain" in object) {
      const { name, type, hook, prio, policy = "accept" } = object.chain;
      const based = type !== undefined && hook !== undefined && prio !== undefined;
      chains.set(name, { name, ...(based ? { hook: { type, hook, prio, policy } } : {}) });
    } else if ("rule" in object) {
      const { chain, comment, expr } = object.rule;
      const rule = { ...handle(object.rule), ...(comment ? { comment } : {}), expr };
      rules.set(chain, [...(rules.get(chain) ?? []), rule]);
    } else if ("counter" in object) {
      const { name, packets = 0, bytes = 0 } = object.counter;
      counters.push({ name, ...handle(object.counter), count: { packets, bytes } });
    } else if ("other" in object && DELETABLE.has(object.other.kind)) others.push(object.other);
  }
  return (
    flags && {
      family,
      name,
      ...number,
      flags,
      sets: sets.sort(byName),
      chains: [...chains.values()]
        .map(chain => ({ ...chain, rules: rules.get(chain.name) ?? [] }))
        .sort((a, b) => Number(!a.hook) - Number(!b.hook) || byName(a, b)),
      counters: counters.sort(byName),
      others,
    }
  );
}

/**
 * Kinds of objects that nft can delete by JSON. For other kinds (`ct timeout`, `synproxy`, `ct expectation`), nft
 * refuses, fails an assertion, or deletes the whole table instead (1.1.3). Objects of these kinds have no effect
 * unless a rule uses them.
 */
const DELETABLE = new Set(["map", "quota", "limit", "ct helper"]);

function handle(object: { readonly handle?: number | undefined }): { readonly handle?: number } {
  return object.handle === undefined ? {} : { handle: object.handle };
}

export function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}

function addressSet(set: NamedSet, fieldOf: FieldOf): AddressSet {
  const { name, type, flags = [], stmt = [], elem = [] } = set;
  const listed = elem
    .map(it => ({ element: element(it), count: countOf(it) }))
    .sort((a, b) => byAddress(a.element, b.element));
  return {
    name,
    ...handle(set),
    of: typeOf(name, type, fieldOf),
    flags,
    counting: stmt.some(it => "counter" in it),
    elements: listed.map(it => it.element),
    counts: listed.flatMap(({ count: { packets, bytes } }) => [packets, bytes]),
  };
}

function countOf(sent: SetElement): Count {
  return (typeof sent === "object" && "elem" in sent && sent.elem.counter) || { packets: 0, bytes: 0 };
}

function typeOf(name: string, type: NamedSet["type"], fieldOf: FieldOf): string {
  if (type === "ipv4_addr" || type === "ipv6_addr") return fieldOf(name);
  if (typeof type === "object" && "typeof" in type && "payload" in type.typeof)
    return type.typeof.payload.field;
  return typeof type === "string" ? type : JSON.stringify(type);
}

function element(sent: SetElement): Element {
  if (typeof sent === "object" && "elem" in sent) {
    const { val, comment } = sent.elem;
    return { value: block(val), ...(comment ? { comment } : {}) };
  }
  return { value: typeof sent === "object" && "unknown" in sent ? sent.unknown : block(sent) };
}

/** nft prints a block as a prefix, as a range or, for a single address, without a length. */
export function block(value: Exclude<SetElement, { elem: unknown } | { unknown: string }>): Cidr | string {
  if (typeof value === "string") return cidr(value, bits(value));
  if ("prefix" in value) return cidr(value.prefix.addr, value.prefix.len);
  const [first, last] = value.range.map(String);
  const low = cidr(`${first}`, bits(`${first}`));
  const high = cidr(`${last}`, bits(`${last}`));
  if (typeof low === "string" || typeof high === "string") return `${first}-${last}`;
  const sizeInBits = (BigInt(high.first) - BigInt(low.first)).toString(2).replace(/^0$/, "").length;
  const whole = cidr(low.address, low.prefix - sizeInBits);
  return whole instanceof Cidr && whole.last === high.last ? whole : `${first}-${last}`;
}

function bits(address: string): number {
  return BITS[address.includes(":") ? "ip6" : "ip"];
}

function cidr(address: string, prefix: number): Cidr | string {
  const parsed = Cidr.parse(`${address}/${prefix}`);
  return parsed instanceof Cidr ? parsed : `${address}/${prefix}`;
}

/** Sorts elements by address. Elements that are not CIDRs come last. */
export function byAddress(a: Element, b: Element): number {
  if (a.value instanceof Cidr && b.value instanceof Cidr) return compareCidrs(a.value, b.value);
  if (a.value instanceof Cidr) return -1;
  if (b.value instanceof Cidr) return 1;
  return a.value < b.value ? -1 : 1;
}
