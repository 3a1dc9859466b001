import { normalizeCidr, parseCidr } from "cidr-tools";
import { withRemedy } from "../system/errors.ts";
import { commonMistake } from "./cidr-mistakes.ts";
import { ipVersion } from "./ip-version.ts";
import { parseCanonicalIPv6 } from "./ipv6.ts";
import type { ParseFailure } from "./parse-failure.ts";

/** The address families, named as in nft. */
export const FAMILIES = ["ip", "ip6"] as const;

export type Family = (typeof FAMILIES)[number];

/** The names of the families for people. */
export const FAMILY_NAMES = { ip: "IPv4", ip6: "IPv6" } as const satisfies Record<Family, string>;

/** Length of an address in bits. */
export const BITS = { ip: 32, ip6: 128 } as const satisfies Record<Family, number>;

/** An address as a number: a bigint for IPv6. Values of one family compare by `<` and `===`. */
export type AddressValue = number | bigint;

/** A single address. Only {@link parseAddress} returns this type. */
export interface Address {
  readonly family: Family;
  readonly text: string;
  readonly value: AddressValue;
}

/**
 * A valid block of addresses. Only {@link Cidr.parse} makes one, so a `Cidr` needs no more checks. `cidr-tools`, which
 * does not validate, gets only checked text. IPv4 is held as numbers alone, since lists may have 100,000 CIDRs.
 */
export class Cidr {
  /** For IPv6 only. */
  readonly #address: string | undefined;

  private constructor(
    readonly family: Family,
    /** Prefix length in bits. */
    readonly prefix: number,
    readonly first: AddressValue,
    readonly last: AddressValue,
    address?: string,
  ) {
    this.#address = address;
  }

  /** The network address, in canonical text. */
  get address(): string {
    return this.#address ?? dotted(Number(this.first));
  }

  /** Canonical text with the prefix length: `10.0.0.0/8`, `2001:db8::/32` (RFC 5952). */
  get text(): string {
    return `${this.address}/${this.prefix}`;
  }

  /** A value that is equal only for equal CIDRs. It is cheaper than the text. */
  get key(): number | string {
    return typeof this.first === "number" ? this.first * 64 + this.prefix : this.text;
  }

  /**
   * Parses `address/length`. The address has four decimal octets without leading zeros, or is an IPv6 address without a
   * zone and not IPv4-mapped. All bits after the prefix are zero.
   */
  static parse(text: string): Cidr | ParseFailure {
    return Cidr.#parseIPv4(text) ?? Cidr.#parseIPv6(text) ?? commonMistake(text) ?? Cidr.#parse(text);
  }

  /** A fast path for valid IPv4. Returns undefined for everything else. */
  static #parseIPv4(text: string): Cidr | undefined {
    let first = 0;
    let octets = 0;
    let number = 0;
    let digits = 0;
    for (let i = 0; i < text.length; i++) {
      const digit = text.charCodeAt(i) - ZERO;
      if (digit >= 0 && digit <= 9) {
        if (number === 0 && digits > 0) return undefined;
        number = number * 10 + digit;
        digits++;
        if (number > 255) return undefined;
      } else {
        if (digits === 0 || digit !== (octets === 3 ? SLASH : DOT)) return undefined;
        first = first * 256 + number;
        octets++;
        number = digits = 0;
      }
    }
    const size = 2 ** (BITS.ip - number);
    if (octets !== 4 || digits === 0 || number > BITS.ip || first % size !== 0) return undefined;
    return new Cidr("ip", number, first, first + size - 1);
  }

  /** A fast path for valid IPv6 in canonical text. Returns undefined for everything else. */
  static #parseIPv6(text: string): Cidr | undefined {
    const slash = text.indexOf("/");
    const length = text.slice(slash + 1);
    const hosts = HOSTS[Number(length)];
    if (slash < 0 || hosts === undefined || !LENGTH.test(length)) return undefined;
    const first = parseCanonicalIPv6(text, slash);
    if (first === undefined || isIPv4Mapped(first) || (first & hosts) !== 0n) return undefined;
    return new Cidr("ip6", Number(length), first, first | hosts, text.slice(0, slash));
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
    if (!LENGTH.test(length) || Number(length) > bits) {
      return {
        what: `"${text}" has the invalid prefix length "${length}"`,
        remedy: `use a prefix length from 0 to ${bits}`,
      };
    }
    const canonical = normalizeCidr(text);
    const cidr = Cidr.parse(canonical);
    if ("what" in cidr || cidr.first === address.value) return cidr;
    return { what: `"${text}" has host bits set`, remedy: `did you mean "${canonical}"?` };
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
  if (version === 6 && isIPv4Mapped(start)) {
    return {
      what: `"${text}" is an IPv4-mapped IPv6 address`,
      remedy: "write the IPv4 address",
    };
  }
  return version === 4 ? { family: "ip", text, value: Number(start) } : { family: "ip6", text, value: start };
}

/**
 * The usual text of an address: `::100:0` for `::1.0.0.0`, which nft and ip6tables print. Other texts stay as they are.
 */
export function canonicalAddress(text: string): string {
  const cidr = Cidr.parse(withLength(text));
  return cidr instanceof Cidr ? cidr.address : text;
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
 * Separates the CIDRs of one family into effective CIDRs and redundant CIDRs, which lie inside an effective CIDR.
 * Keeps the order; `ascending` has the effective ones by address. If CIDRs are equal, the first one is effective.
 * Takes n log n time.
 */
export function separateRedundant<T extends { readonly cidr: Cidr }>(
  items: readonly T[],
): { effective: readonly T[]; ascending: readonly T[]; redundant: { item: T; by: T }[] } {
  const ascending: T[] = [];
  const containedIn = new Map<T, T>();
  for (const item of items.toSorted((a, b) => compareCidrs(a.cidr, b.cidr))) {
    const around = ascending.at(-1);
    if (around?.cidr.contains(item.cidr)) containedIn.set(item, around);
    else ascending.push(item);
  }
  if (containedIn.size === 0) return { effective: items, ascending, redundant: [] };
  const redundant = items.flatMap(item => {
    const by = containedIn.get(item);
    return by ? [{ item, by }] : [];
  });
  return { effective: items.filter(item => !containedIn.has(item)), ascending, redundant };
}

/** Orders by family, then by first address, then the wider block first. */
export function compareCidrs(a: Cidr, b: Cidr): number {
  if (a.family !== b.family) return a.family === "ip" ? -1 : 1;
  if (a.first !== b.first) return a.first < b.first ? -1 : 1;
  return a.prefix - b.prefix;
}

const LENGTH = /^(0|[1-9]\d{0,2})$/;
/** The largest number after a prefix of IPv6, by the length of the prefix. */
const HOSTS = Array.from({ length: BITS.ip6 + 1 }, (_, length) => (1n << BigInt(BITS.ip6 - length)) - 1n);
const ZERO = "0".charCodeAt(0);
const DOT = ".".charCodeAt(0) - ZERO;
const SLASH = "/".charCodeAt(0) - ZERO;

function isIPv4Mapped(value: bigint): boolean {
  return value >> 32n === 0xffffn;
}

/** The text of an IPv4 address. */
function dotted(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}
