import { expect, test } from "bun:test";
import { IN_SYNC } from "../../src/backends/backend.ts";
import { foreignChange, poll } from "../../src/backends/watch.ts";

test("a poll compares changed rules, also those before the last sync, and not what that sync compared", async () => {
  const seen = ["rules", "rules", IN_SYNC, "rules", IN_SYNC];
  const done = Promise.withResolvers<void>();
  let compared = 0;
  const target = {
    async fingerprint() {
      const next = seen.shift();
      if (next === undefined) done.resolve();
      return next ?? IN_SYNC;
    },
    async plan() {
      compared++;
      return { inSync: true };
    },
  };
  const polling = poll(target, () => done.reject(new Error("reports a change")), 1);
  await done.promise;
  polling.stop();
  expect(compared).toBe(2);
});

test.each([
  ["add rule ip nat POSTROUTING ip daddr 198.51.100.0/24 counter accept", "ip nat POSTROUTING"],
  ["insert rule inet t c masquerade", "inet t c"],
  ["replace rule ip t c handle 3 masquerade", "ip t c"],
  ["delete rule ip nat KUBE-SEP-0123 handle 12", "ip nat KUBE-SEP-0123"],
  ["delete chain ip t c", "ip t c"],
  ["delete table inet t", "inet t"],
  ["add table ip t { flags dormant; }", "ip t"],
  ["add rule inet ip-masq-agent c masquerade", "inet ip-masq-agent c"],
])("%s changes %s", (line, where) => {
  expect(foreignChange(line)).toEqual({ where });
});

test("a new base chain may have any name", () => {
  const line = "add chain ip t c { type nat hook postrouting priority srcnat; policy accept; }";
  expect(foreignChange(line)).toEqual({ where: undefined });
});

test.each([
  "add chain ip t c",
  "add chain ip t c { type filter hook postrouting priority 0; policy accept; }",
  "add element ip t s { 10.0.0.0/8 }",
  "add set ip t s { type ipv4_addr; }",
  "add rule ip ip-masq-agent postrouting masquerade",
  "delete table ip6 ip-masq-agent",
  "# new generation 12 by process 34 (nft)",
])("%s does not change foreign rules", line => {
  expect(foreignChange(line)).toBe(undefined);
});
