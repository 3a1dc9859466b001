import { expect, test } from "bun:test";
import { describePolicy, summarizePolicy } from "../../src/policy/describe.ts";
import { needsOwnAddresses, withOwnAddresses } from "../../src/policy/own-addresses.ts";
import { policy } from "../policies.ts";

const OWN = ["10.1.0.7", "192.0.2.7", "198.51.100.7", "198.51.100.8", "2001:db8::7"];
const IPV6 = { enableIPv6: true };

test.each<[string, string[], string | undefined, string | undefined]>([
  [
    "the first CIDR that contains an address decides",
    ["203.0.113.0/24", "198.51.100.0/24", "10.0.0.0/8"],
    "198.51.100.7",
    undefined,
  ],
  ["a single address", ["198.51.100.8/32"], "198.51.100.8", undefined],
  ["each family has its own choice", ["2001:db8::/32", "192.0.2.0/24"], "192.0.2.7", "2001:db8::7"],
  ["no address fits", ["203.0.113.0/24", "2001:db8:1::/48"], undefined, undefined],
])("%s", (_name, snat, ip, ip6) => {
  const { families } = policy({ snat, own: OWN }, IPV6);
  expect(families.map(it => it.snat?.chosen?.address.text)).toEqual([ip, ip6]);
});

test("the choice has its reason", () => {
  const fact = (snat: string[]) =>
    describePolicy(summarizePolicy(policy({ snat, own: OWN }, IPV6))).find(it => it.name === "snatAddresses")
      ?.text;
  expect(fact(["203.0.113.0/24", "192.0.2.0/24", "2001:db8:1::/48"])).toBe(
    "192.0.2.7 of eth9, in 192.0.2.0/24; none: no address of the node is in snatAddresses (2001:db8:1::/48), so the kernel chooses",
  );
  const { snatAddresses } = summarizePolicy(policy({ snat: ["203.0.113.0/24", "192.0.2.0/24"], own: OWN }));
  expect(snatAddresses).toEqual([
    {
      family: "ip",
      address: "192.0.2.7",
      interface: "eth9",
      cidr: "192.0.2.0/24",
      reason:
        "192.0.2.7 of eth9 is in 192.0.2.0/24 (/config:3), the first CIDR of snatAddresses that contains an address of the node",
    },
  ]);
});

test("the same choice is the same policy", () => {
  const meant = policy({ snat: ["192.0.2.0/24"], own: OWN });
  const addresses = meant.families.flatMap(it => it.snat?.chosen ?? []);
  expect(withOwnAddresses(meant, addresses)).toBe(meant);
  expect(withOwnAddresses(meant, []).families[0]?.snat?.chosen).toBeUndefined();
  expect([needsOwnAddresses(meant), needsOwnAddresses(policy())]).toEqual([true, false]);
});
