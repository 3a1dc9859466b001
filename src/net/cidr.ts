import { normalizeCidr, parseCidr } from "cidr-tools";
import { withRemedy } from "../system/errors.ts";
import { ipVersion } from "./ip-version.ts";
import type { ParseFailure } from "./parse-failure.ts";

/** An address family, named as in nft. */
export type Family = "ip" | "ip6";

export const FAMILIES: readonly Family[] = ["ip", "ip6"];

/** Length of an address in bits. */
export const BITS = { ip: 32, ip6: 128 } as const satisfies Record<Family, number>;

/** A single address. Only {@link parseAddress} makes one. */
export interface Address {
  readonly family: Family;
  readonly text: string;
  readonly value: bigint;
}

/**
 * A valid block of addresses. Only {@link Cidr.parse} makes one, so a `Cidr` needs no more checks, and `cidr-tools`, which
 * does not validate, only gets checked text.
 */
export class Cidr {
  private constructor(
    readonly family: Family,
    /** Canonical text with the prefix length: `10.0.0.0/8`, `2001:db8::/32` (RFC 5952). */
    readonly text: string,
    /** The network address, in canonical text. */
    readonly address: string,
    /** Prefix length in bits. */
    readonly prefix: number,
    readonly first: bigint,
    readonly last: bigint,
  ) {}

  /**
   * Parses `address/length`. The address has four decimal octets without leading zeros, or is an IPv6 address without a
   * zone and not IPv4-mapped. All bits after the prefix are zero.
   */
  static parse(text: string): Cidr | ParseFailure {
    return isUsual(text) ? Cidr.#parse(text) : (commonMistake(text) ?? Cidr.#parse(text));
  }

  static #parse(text: string): Cidr | ParseFailure {
    const slash = text.indexOf("/");
    if (slash < 0) {
      const address = parseAddress(text);
      if ("what" in address) return address;
      return {
        what: `"${text}" has no prefix length`,
        remedy: `did you mean "${text}/${BITS[address.family]}"?`,
      };
    }
    const address = parseAddress(text.slice(0, slash));
    if ("what" in address) return { ...address, what: `"${text}": ${address.what}` };
    const bits = BITS[address.family];
    const length = text.slice(slash + 1);
    if (!/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > bits) {
      return {
        what: `"${text}" has the invalid prefix length "${length}"`,
        remedy: `use a prefix length from 0 to ${bits}`,
      };
    }
    const block = parseCidr(text);
    const canonical = normalizeCidr(text);
    if (address.value !== block.start) {
      return { what: `"${text}" has host bits set`, remedy: `did you mean "${canonical}"?` };
    }
    return new Cidr(
      address.family,
      canonical,
      canonical.slice(0, canonical.indexOf("/")),
      Number(length),
      block.start,
      block.end,
    );
  }

  /** A CIDR that is written in the code. Throws if it is invalid. */
  static literal(text: string): Cidr {
    const cidr = Cidr.parse(text);
    if (cidr instanceof Cidr) return cidr;
    throw new TypeError(withRemedy(cidr));
  }

  contains(other: Cidr | Address): boolean {
    if (other.family !== this.family) return false;
    if (other instanceof Cidr) return this.first <= other.first && other.last <= this.last;
    return this.first <= other.value && other.value <= this.last;
  }

  toString(): string {
    return this.text;
  }
}

/** Parses an address as strictly as {@link Cidr.parse}. */
export function parseAddress(text: string): Address | ParseFailure {
  if (text.includes("%")) {
    return { what: `"${text}" has a zone`, remedy: 'remove the "%" and the zone after it' };
  }
  const version = ipVersion(text);
  if (version === 0) return { what: `"${text}" is not an IP address`, remedy: addressRemedy(text) };
  const { start } = parseCidr(text);
  if (version === 6 && start >> 32n === 0xffffn) {
    return {
      what: `"${text}" is an IPv4-mapped IPv6 address`,
      remedy: "write the IPv4 address",
    };
  }
  return { family: version === 4 ? "ip" : "ip6", text, value: start };
}

/** Adds the prefix length to the text of an address; returns a CIDR unchanged. Does not validate. */
export function withLength(address: string): string {
  return address.includes("/") ? address : `${address}/${BITS[address.includes(":") ? "ip6" : "ip"]}`;
}

function addressRemedy(text: string): string {
  const tidy = text.trim().replace(/(^|\.)0+(?=\d)/g, "$1");
  if (tidy !== text && ipVersion(tidy)) return `did you mean "${tidy}", without leading zeros and spaces?`;
  return "write an IPv4 address such as 10.0.0.0 or an IPv6 address such as fd00::";
}

/**
 * Separates CIDRs of one family into effective ones and redundant ones, which lie inside an effective one. Keeps the
 * order. Of equal CIDRs the first one is effective. Takes n log n time.
 */
export function separateRedundant<T extends { readonly cidr: Cidr }>(
  items: readonly T[],
): { effective: T[]; redundant: { item: T; by: T }[] } {
  const wideFirst = items
    .map((item, index) => ({ item, index }))
    .sort((a, b) => compareCidrs(a.item.cidr, b.item.cidr) || a.index - b.index);
  const containedIn = new Map<T, T>();
  let around: T | undefined;
  for (const { item } of wideFirst) {
    if (around?.cidr.contains(item.cidr)) containedIn.set(item, around);
    else around = item;
  }
  const effective: T[] = [];
  const redundant: { item: T; by: T }[] = [];
  for (const item of items) {
    const by = containedIn.get(item);
    if (by) redundant.push({ item, by });
    else effective.push(item);
  }
  return { effective, redundant };
}

/** Orders by family, then by first address, then the wider block first. */
export function compareCidrs(a: Cidr, b: Cidr): number {
  if (a.family !== b.family) return a.family === "ip" ? -1 : 1;
  if (a.first !== b.first) return a.first < b.first ? -1 : 1;
  return a.prefix - b.prefix;
}

function isUsual(text: string): boolean {
  return /^[\da-fA-F.:]+\/\d{1,3}$/.test(text);
}

/** The error for a common mistake, with its cause. */
function commonMistake(text: string): ParseFailure | undefined {
  const [, first = "", last = ""] = /^([^-\s]+)\s*-\s*([^-\s]+)$/.exec(text) ?? [];
  if (ipVersion(first) !== 0 && ipVersion(first) === ipVersion(last)) {
    return { what: `"${text}" is an address range`, remedy: "write it as CIDRs" };
  }
  // In YAML, an entry with more indentation than the previous one continues it: "A - B".
  const parts = text.split(/[\s,;]+(?:-\s+)?/).filter(Boolean);
  if (parts.length > 1 && parts.every(it => ipVersion(it.replace(/\/.*/, "")))) {
    const count = parts.length === 2 ? "two CIDRs" : `${parts.length} CIDRs`;
    return { what: `"${text}" is ${count} in one entry`, remedy: "give each its own entry" };
  }
  if (/\$[{(\w]|<%|\{%/.test(text)) {
    return { what: `"${text}" contains an unexpanded variable`, remedy: "write the CIDR" };
  }
  const [, address = "", mask = ""] = /^([\d.]+)\/([\d.]+\.[\d.]+)$/.exec(text) ?? [];
  const prefix = prefixOf(mask);
  if (ipVersion(address) === 4 && prefix !== undefined) {
    return {
      what: `"${text}" has a netmask instead of a prefix length`,
      remedy: `did you mean "${address}/${prefix}"?`,
    };
  }
  return undefined;
}

/** The prefix length of a netmask such as 255.255.0.0. */
function prefixOf(mask: string): number | undefined {
  if (ipVersion(mask) !== 4) return undefined;
  const bits = mask
    .split(".")
    .map(octet => Number(octet).toString(2).padStart(8, "0"))
    .join("");
  return /^1*0*$/.test(bits) ? bits.replaceAll("0", "").length : undefined;
}
