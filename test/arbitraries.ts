import fc from "fast-check";
import { parseChainName } from "../src/backends/ownership.ts";
import { type Address, BITS, Cidr, type Family, parseAddress } from "../src/net/cidr.ts";
import { parseInterfaceName } from "../src/net/interface-name.ts";
import { parseMark } from "../src/net/mark.ts";
import type { PortRange } from "../src/net/ports.ts";
import type { PolicyFlags } from "../src/policy/policy.ts";
import { address, type Short } from "./policies.ts";

/** The arguments of `policy()`. A failing property prints them, ready to paste into a test. */
export interface PolicyArguments {
  readonly short: Short;
  readonly flags: Partial<PolicyFlags>;
}

/** Addresses that a policy's CIDRs are often near. */
export interface Surroundings {
  /** Addresses that source CIDRs often contain or end at. */
  readonly sources: readonly string[];
  readonly interfaces: fc.Arbitrary<string>;
  /** Addresses of the node. */
  readonly own?: readonly string[];
}

/** Configs and flags of every kind, with few CIDRs that are nested, adjacent or apart. */
export function policyArguments({
  sources,
  interfaces,
  own = OWN,
}: Surroundings): fc.Arbitrary<PolicyArguments> {
  const blocks = fc.array(block(), { maxLength: 5 });
  const lists = fc.record(
    { keep: blocks, masquerade: blocks, sources: blocks, spared: blocks, snat: blocks },
    { requiredKeys: [] },
  );
  const rest = fc.record(
    {
      interfaces: selection(interfaces),
      dropLeaks: fc.boolean(),
      marks: fc.array(mark(), { maxLength: 2 }),
      enforce: fc.boolean(),
      foreignMarks: fc.array(mark(), { maxLength: 2 }),
      masqLinkLocal: fc.boolean(),
      masqLinkLocalIPv6: fc.boolean(),
    },
    { requiredKeys: [] },
  );
  const flags = fc.record(
    {
      enableIPv6: fc.boolean(),
      masqChain: chainName(),
      nomasqAllReservedRanges: fc.boolean(),
      randomFully: fc.boolean(),
      toPorts: portRanges(),
    },
    { requiredKeys: [] },
  );
  return fc.tuple(places("ip"), places("ip6"), lists, rest, flags).map(([ip, ip6, lists, rest, flags]) => {
    const near = flags.enableIPv6 ? [...ip, ...ip6] : ip;
    const families = new Set(near.map(({ family }) => family));
    const known = sources.map(address).filter(({ family }) => families.has(family));
    const ours = own.map(address).filter(({ family }) => families.has(family));
    const short = {
      ...(lists.keep && { keep: cidrs(lists.keep, near) }),
      ...(lists.masquerade && { masquerade: cidrs(lists.masquerade, near) }),
      ...(lists.sources && { sources: cidrs(lists.sources, [...known, ...near]) }),
      ...(lists.spared && { spared: cidrs(lists.spared, [...known, ...near]) }),
      ...(lists.snat && { snat: cidrs(lists.snat, [...ours, ...near]), own }),
      ...rest,
    };
    return { short, flags: { ...flags } };
  });
}

/** Addresses of a node. nft prints one of them in another spelling. */
const OWN = ["192.0.2.77", "10.1.2.3", "::100:0", "2001:db8::8000:0:0:7", "fd00:10:244:1::9"];

/** The first and the last address of a CIDR, and the addresses before and after it, in canonical text. */
export function boundaries({ family, first, last }: Cidr): Address[] {
  return [BigInt(first) - 1n, BigInt(first), BigInt(last), BigInt(last) + 1n].flatMap(value => {
    if (value < 0n || value >> BigInt(BITS[family]) > 0n) return [];
    const single = Cidr.parse(`${text(family, value)}/${BITS[family]}`);
    return single instanceof Cidr ? [{ family, text: single.address, value: single.first }] : []; // excludes IPv4-mapped addresses
  });
}

/** Entries of `outputInterfaces`: all negated, or none. */
function selection(interfaces: fc.Arbitrary<string>): fc.Arbitrary<string[]> {
  const some = fc.array(interfaces, { maxLength: 3 });
  return fc.tuple(some, fc.boolean()).map(([names, not]) => (not ? names.map(it => `!${it}`) : names));
}

/** Valid interface names, and prefixes with a star. */
export function interfaceName(): fc.Arbitrary<string> {
  const usual = fc.stringMatching(/^(eth|ens|veth|cali|wg-|br_|en\.)\d{1,3}$/);
  const odd = ["grapheme-ascii" as const, "grapheme" as const].map(unit =>
    fc.string({ unit, minLength: 1, maxLength: 15 }),
  );
  return fc
    .tuple(fc.oneof(usual, ...odd), fc.constantFrom("", "*"))
    .map(parts => parts.join(""))
    .filter(name => typeof parseInterfaceName(name) === "string");
}

/** Valid marks; those of {@link MARKS_NEAR} are frequent. */
function mark(): fc.Arbitrary<string> {
  const bits = fc.oneof(fc.constantFrom(0x10, 0x200, 0x4000, 0x8000_0000, 0xffff_ffff), fc.nat(0xffff_ffff));
  return fc
    .tuple(bits, fc.option(bits))
    .map(([value, mask]) => (mask === null ? `${value}` : `0x${((value & mask) >>> 0).toString(16)}/${mask}`))
    .filter(text => !("what" in parseMark(text)));
}

/** Marks of packets that marks of a policy often match. */
export const MARKS_NEAR = [0x10, 0x210, 0x4000, 0x8000_0001];

/** Valid names for `--masq-chain`. */
function chainName(): fc.Arbitrary<string> {
  const usual = fc.constantFrom("IP-MASQ", "ip-masq.agent", "kube_masq", "a-");
  const odd = fc.stringMatching(/^[A-Za-z_][\w.-]{0,27}$/);
  return fc.oneof(usual, odd).filter(name => typeof parseChainName(name) === "string");
}

/** Up to 5 ranges, ascending and disjoint, some of them single ports or adjacent. */
function portRanges(): fc.Arbitrary<PortRange[]> {
  const port = fc.oneof(
    fc.integer({ min: 1, max: 65_535 }),
    fc.constantFrom(1, 2, 1023, 1024, 65_534, 65_535),
  );
  return fc.uniqueArray(port, { minLength: 1, maxLength: 10 }).map(ports => {
    const ascending = ports.toSorted((a, b) => a - b);
    return ascending.flatMap((first, i) => {
      const last = ascending[i + 1] ?? first;
      return i % 2 === 0 ? [{ first, last }] : [];
    });
  });
}

/** Addresses that blocks are built around. Fewer addresses mean more nested blocks. */
function places(family: Family): fc.Arbitrary<Address[]> {
  const anywhere = fc
    .bigInt({ min: 0n, max: (1n << BigInt(BITS[family])) - 1n })
    .map(value => parseAddress(text(family, value)))
    .filter(it => "value" in it);
  const place = fc.oneof(fc.constantFrom(...PLACES[family].map(address)), anywhere);
  return fc.array(place, { minLength: 1, maxLength: 3 });
}

const PLACES = {
  ip: [
    "0.0.0.0",
    "10.1.2.3",
    "127.255.255.255",
    "128.0.0.0",
    "169.254.0.0",
    "203.0.113.7",
    "255.255.255.255",
  ],
  ip6: ["::", "::1.2.3.4", "7fff::", "8000::", "fd00:10:244:1::", "fe80::", "2001:db8::8000:0:0:0", "ffff::"],
};

/** A block around one of several addresses, or the adjacent block. */
interface Block {
  readonly place: number;
  readonly prefix: number;
  readonly beside: boolean;
}

function block(): fc.Arbitrary<Block> {
  return fc.record({ place: fc.nat(99), prefix: fc.nat(128), beside: fc.boolean() });
}

function cidrs(blocks: readonly Block[], places: readonly Address[]): string[] {
  const texts = blocks.flatMap(block => {
    const place = places[block.place % places.length];
    if (!place) return [];
    const prefix = block.prefix % (BITS[place.family] + 1);
    const rest = BigInt(BITS[place.family] - prefix);
    const number = BigInt(place.value) >> rest;
    return [`${text(place.family, (block.beside && prefix > 0 ? number ^ 1n : number) << rest)}/${prefix}`];
  });
  return texts.filter(it => Cidr.parse(it) instanceof Cidr); // excludes IPv4-mapped addresses
}

function text(family: Family, value: bigint): string {
  if (family === "ip") return [24n, 16n, 8n, 0n].map(bits => (value >> bits) & 255n).join(".");
  const groups = Array.from({ length: 8 }, (_, i) => (value >> BigInt(112 - 16 * i)) & 0xffffn);
  return groups.map(group => group.toString(16)).join(":");
}
