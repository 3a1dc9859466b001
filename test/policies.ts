import type { Config } from "../src/config/keys.ts";
import { type Address, Cidr, parseAddress } from "../src/net/cidr.ts";
import { markOf } from "../src/net/mark.ts";
import { withOwnAddresses } from "../src/policy/own-addresses.ts";
import { type Policy, type PolicyFlags, policyOf } from "../src/policy/policy.ts";

export const DEFAULT_FLAGS: PolicyFlags = {
  enableIPv6: false,
  masqChain: "IP-MASQ-AGENT",
  nomasqAllReservedRanges: false,
  randomFully: true,
  toPorts: undefined,
};

/** A short form of a config. Entry i of a list is on line i + 2 of the file. */
export interface Short {
  /** By default `/config`. */
  file?: string;
  keep?: readonly string[];
  masquerade?: readonly string[];
  sources?: readonly string[];
  spared?: readonly string[];
  interfaces?: readonly string[];
  marks?: readonly string[];
  snat?: readonly string[];
  dropLeaks?: boolean;
  /** The node's addresses that `snat` can choose, preferred ones first. */
  own?: readonly string[];
  enforce?: boolean;
  foreignMarks?: readonly string[];
  masqLinkLocal?: boolean;
  masqLinkLocalIPv6?: boolean;
}

/** The policy of a short config and of flags that differ from the defaults. */
export function policy(short: Short = {}, flags: Partial<PolicyFlags> = {}): Policy {
  const own = (short.own ?? []).map(text => ({ address: address(text), interface: "eth9" }));
  return withOwnAddresses(policyOf(config(short), { ...DEFAULT_FLAGS, ...flags }), own);
}

/** An address that is known to be valid. */
export function address(text: string): Address {
  const parsed = parseAddress(text);
  if ("what" in parsed) throw new TypeError(parsed.what);
  return parsed;
}

function config({ file = "/config", ...short }: Short): Config {
  const { keep, masquerade, sources, spared, interfaces, marks, snat, enforce, foreignMarks } = short;
  const { masqLinkLocal, masqLinkLocalIPv6 } = short;
  const located = <T>(value: T, line: number) => ({ value, at: { file, line, column: 5 } });
  const cidrs = (texts: readonly string[]) => texts.map((text, i) => located(Cidr.literal(text), i + 2));
  return {
    ...(keep ? { nonMasqueradeCIDRs: cidrs(keep) } : {}),
    ...(masquerade ? { masqueradeCIDRs: cidrs(masquerade) } : {}),
    ...(sources ? { sourceCIDRs: cidrs(sources) } : {}),
    ...(spared ? { nonMasqueradeSourceCIDRs: cidrs(spared) } : {}),
    ...(interfaces ? { outputInterfaces: interfaces.map((name, i) => located(name, i + 2)) } : {}),
    ...(marks ? { nonMasqueradeMarks: marks.map((text, i) => located(markOf(text), i + 2)) } : {}),
    ...(snat ? { snatAddresses: cidrs(snat) } : {}),
    ...(enforce === undefined ? {} : { enforceNonMasquerade: located(enforce, 1) }),
    ...(foreignMarks
      ? { foreignMasqueradeMarks: foreignMarks.map((text, i) => located(markOf(text), i + 2)) }
      : {}),
    ...(short.dropLeaks === undefined ? {} : { dropLeaks: located(short.dropLeaks, 1) }),
    ...(masqLinkLocal === undefined ? {} : { masqLinkLocal: located(masqLinkLocal, 1) }),
    ...(masqLinkLocalIPv6 === undefined ? {} : { masqLinkLocalIPv6: located(masqLinkLocalIPv6, 1) }),
  };
}
