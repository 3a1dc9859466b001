import { expect, test } from "bun:test";
import { formatOrigin } from "../../src/policy/policy.ts";
import { policy, type Short } from "../policies.ts";

/** The non-masquerade CIDRs as `CIDR ORIGIN`. Redundant ones end with `< WIDER`. */
function list(short: Short, flags: Parameters<typeof policy>[1] = {}): string[] {
  return policy(short, flags).families.flatMap(({ nonMasquerade: { effective, redundant } }) => [
    ...effective.map(({ cidr, origin }) => `${cidr} ${formatOrigin(origin)}`),
    ...redundant.map(({ item, by }) => `${item.cidr} ${formatOrigin(item.origin)} < ${by.cidr}`),
  ]);
}

test("link-local CIDRs come first, then those of the config in its order", () => {
  expect(list({ keep: ["192.168.0.0/16", "10.0.0.0/8"] })).toEqual([
    "169.254.0.0/16 default",
    "192.168.0.0/16 /config:2",
    "10.0.0.0/8 /config:3",
  ]);
});

test("IPv6 is included only if enabled", () => {
  expect(list({}, { enableIPv6: true })).toEqual([
    "169.254.0.0/16 default",
    "10.0.0.0/8 default",
    "172.16.0.0/12 default",
    "192.168.0.0/16 default",
    "fe80::/10 default",
  ]);
});

test("a CIDR inside another one is redundant, in any order", () => {
  expect(list({ keep: ["10.1.0.0/16", "0.0.0.0/0", "10.1.0.0/16"] })).toEqual([
    "0.0.0.0/0 /config:3",
    "169.254.0.0/16 default < 0.0.0.0/0",
    "10.1.0.0/16 /config:2 < 0.0.0.0/0",
    "10.1.0.0/16 /config:4 < 0.0.0.0/0",
  ]);
});

test("the reserved ranges come after the private ones", () => {
  expect(list({}, { nomasqAllReservedRanges: true }).slice(3, 6)).toEqual([
    "192.168.0.0/16 default",
    "100.64.0.0/10 --nomasq-all-reserved-ranges",
    "192.0.0.0/24 --nomasq-all-reserved-ranges",
  ]);
});
