import { expect, test } from "bun:test";
import { decide } from "../../src/policy/decision.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { address, policy } from "../policies.ts";

/** The verdict on a connection to `to`, as `VERDICT: REASON [WITHIN]`. */
function said(
  of: Policy,
  to: string,
  { from, out, local, mark }: { from?: string; out?: string; local?: true; mark?: number } = {},
): string {
  const {
    verdict: what,
    reason,
    within,
  } = decide(of, {
    destination: address(to),
    ...(from ? { source: address(from) } : {}),
    ...(out ? { out } : {}),
    ...(local ? { local } : {}),
    ...(mark ? { mark } : {}),
  });
  return `${what}: ${reason}${within.length > 0 ? ` [${within}]` : ""}`;
}

test("the defaults", () => {
  const defaults = policy();
  expect(said(defaults, "10.1.2.3")).toBe(
    "keep: 10.1.2.3 is in the non-masquerade CIDR 10.0.0.0/8 (default)",
  );
  expect(said(defaults, "172.16.0.0")).toBe(
    "keep: 172.16.0.0 is in the non-masquerade CIDR 172.16.0.0/12 (default)",
  );
  expect(said(defaults, "172.32.0.0")).toBe("masquerade: 172.32.0.0 is not in a non-masquerade CIDR");
  expect(said(defaults, "169.254.1.1")).toBe(
    "keep: 169.254.1.1 is in the non-masquerade CIDR 169.254.0.0/16 (default)",
  );
  expect(said(defaults, "100.64.0.1")).toBe("masquerade: 100.64.0.1 is not in a non-masquerade CIDR");
  expect(said(defaults, "8.8.8.8", { local: true })).toBe("keep: 8.8.8.8 is an address of the node itself");
  expect(said(defaults, "2001:db8::1")).toBe(
    "keep: IPv6 is not masqueraded without enableIPv6 or --enable-ipv6",
  );
});

test("the reserved ranges", () => {
  const reserved = policy({}, { nomasqAllReservedRanges: true });
  expect(said(reserved, "100.64.0.1")).toBe(
    "keep: 100.64.0.1 is in the non-masquerade CIDR 100.64.0.0/10 (--nomasq-all-reserved-ranges)",
  );
  expect(said(policy({ keep: ["10.0.0.0/8"] }, { nomasqAllReservedRanges: true }), "100.64.0.1")).toBe(
    "masquerade: 100.64.0.1 is not in a non-masquerade CIDR",
  );
});

test("a list in the config replaces the default one, but not link-local", () => {
  expect(said(policy({ keep: [] }), "10.0.0.1")).toBe("masquerade: 10.0.0.1 is not in a non-masquerade CIDR");
  expect(said(policy({ keep: [] }), "169.254.0.1")).toStartWith("keep");
  expect(said(policy({ masqLinkLocal: true }), "169.254.0.1")).toStartWith("masquerade");
  expect(said(policy({}, { enableIPv6: true }), "fe80::1")).toStartWith("keep");
  expect(said(policy({ masqLinkLocalIPv6: true }, { enableIPv6: true }), "fe80::1")).toStartWith(
    "masquerade",
  );
});

test("the narrowest CIDR decides, and wider ones are listed", () => {
  const nested = policy({ keep: ["10.0.0.0/8", "10.1.2.0/24", "10.1.0.0/16"] });
  expect(said(nested, "10.1.2.3")).toBe(
    "keep: 10.1.2.3 is in the non-masquerade CIDR 10.1.2.0/24 (/config:3) [10.1.0.0/16,10.0.0.0/8]",
  );
});

test("exceptions override both lists; sources and interfaces override exceptions", () => {
  const all = policy({
    keep: ["10.0.0.0/8"],
    masquerade: ["10.96.0.0/12", "169.254.169.254/32"],
    sources: ["10.244.0.0/16"],
    interfaces: ["eth0", "ens*"],
  });
  const pod = { from: "10.244.1.2", out: "eth0" };
  expect(said(all, "10.97.0.1", pod)).toBe(
    "masquerade: 10.97.0.1 is in the masquerade CIDR 10.96.0.0/12 (/config:2)",
  );
  expect(said(all, "169.254.169.254", pod)).toStartWith(
    "masquerade: 169.254.169.254 is in the masquerade CIDR",
  );
  expect(said(all, "10.1.0.1", pod)).toStartWith("keep");
  expect(said(all, "10.97.0.1", { ...pod, from: "10.1.1.1" })).toBe(
    "keep: the source 10.1.1.1 is not in sourceCIDRs",
  );
  expect(said(all, "10.97.0.1", { ...pod, out: "eth1" })).toBe("keep: eth1 is not in outputInterfaces");
  const others = policy({ interfaces: ["!docker0", "!wg*"] });
  expect(said(others, "203.0.113.7", { out: "wg1" })).toBe("keep: wg1 is excluded by outputInterfaces");
  expect(said(others, "203.0.113.7", { out: "eth0" })).toStartWith("masquerade: ");
  expect(said(all, "10.97.0.1", { ...pod, out: "ens5" })).toStartWith("masquerade");
});

test("marks override all lists", () => {
  const marked = policy({ masquerade: ["10.96.0.0/12"], marks: ["0x200/0x200", "0x10"] });
  expect(said(marked, "10.97.0.1", { mark: 0x210 })).toBe("keep: its packets have the mark 0x200/0x200");
  expect(said(marked, "10.97.0.1", { mark: 0x10 })).toBe("keep: its packets have the mark 0x10");
  expect(said(marked, "10.97.0.1", { mark: 0x110 })).toStartWith("masquerade");
  expect(said(marked, "10.97.0.1")).toStartWith("masquerade");
});

test("connections that the policy keeps are enforced; what it leaves alone is not", () => {
  const meant = policy({
    keep: ["10.0.0.0/8"],
    masquerade: ["10.96.0.0/12"],
    sources: ["10.244.0.0/16"],
    spared: ["10.245.7.0/24"],
    interfaces: ["eth0"],
    marks: ["0x200/0x200"],
    enforce: true,
  });
  const enforced = (to: string, more: { from?: string; out?: string; mark?: number; local?: true } = {}) => {
    const { from = "10.244.1.2", out = "eth0", ...rest } = more;
    return decide(meant, { destination: address(to), source: address(from), out, ...rest }).enforced;
  };
  expect([enforced("10.1.2.3"), enforced("203.0.113.7", { mark: 0x200 })]).toEqual([true, true]);
  expect(enforced("203.0.113.7", { from: "10.245.7.1", out: "eth1" })).toBe(true);
  expect([enforced("203.0.113.7"), enforced("10.96.0.1"), enforced("224.0.0.1")]).toEqual([
    false,
    false,
    false,
  ]);
  expect([enforced("10.1.2.3", { from: "192.0.2.1" }), enforced("10.1.2.3", { out: "eth1" })]).toEqual([
    false,
    false,
  ]);
  expect([enforced("10.1.2.3", { mark: 0x4000 }), enforced("10.1.2.3", { local: true })]).toEqual([
    false,
    false,
  ]);
});

test("with sources of one family, the other family is kept", () => {
  const ipv4Only = policy({ sources: ["10.244.0.0/16"] }, { enableIPv6: true });
  expect(said(ipv4Only, "2001:db8::1", { from: "fd00::1" })).toBe("keep: sourceCIDRs has no IPv6 CIDR");
});
