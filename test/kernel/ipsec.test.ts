import { afterEach, expect, test } from "bun:test";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { describeBackends } from "./backends-under-test.ts";
import { refusing } from "./refusing.ts";

/** Refuses rules that match IPsec policies, as a kernel without xfrm does. */
const WITHOUT_XFRM = refusing("ipsec", "Could not process rule: Operation not supported");

const desired = policy({ keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"] }, { enableIPv6: true });

const lab = labPerFile();
afterEach(async () => {
  await lab.node.output(["nft", "flush", "ruleset"]);
});

test("a backend can be chosen on a kernel without IPsec policies", async () => {
  const through = new NftablesBackend(lab.node.command([...WITHOUT_XFRM, "nft"]));
  await through.check(desired);
  expect(through.limits).toHaveLength(1);
  const able = new NftablesBackend(lab.node.command(["nft"]));
  await able.check(desired);
  expect(able.limits).toEqual([]);
});

describeBackends(({ open, snapshot }) => {
  test("packets under an IPsec policy return first", async () => {
    const backend = open(lab);
    await sync(backend, desired);
    expect(backend.limits).toEqual([]);
    const rules = await backend.rules(["ip", "ip6"]);
    const first = rules.map(({ base, chains }) =>
      [...chains.values()].flat().find(({ action }) => action.does === "return" && base !== ""),
    );
    expect(first.map(rule => rule?.conditions)).toEqual(
      Array.from({ length: 2 }, () => [{ on: "ipsec", not: false }]),
    );
    await backend.remove();
  });

  test("if the kernel cannot match them, all other rules are in force, and the limit is reported", async () => {
    const backend = open(lab, WITHOUT_XFRM);
    await sync(backend, desired);
    expect(backend.limits).toEqual([
      "the kernel cannot match packets under an IPsec policy; they are masqueraded like all others",
    ]);
    expect(await lab.ownerSeen({ protocol: "udp", to: "10.1.2.3" })).toBe("pod");
    expect(await lab.ownerSeen({ protocol: "udp", to: "10.96.0.1" })).toBe("node");
    const written = await snapshot(lab);
    expect(written).toContain("multicast is never masqueraded");
    expect(written).not.toMatch(/rt ipsec|--pol ipsec/);
    for (const again of [backend, open(lab, WITHOUT_XFRM)]) {
      expect((await sync(again, desired)).before.inSync).toBe(true);
      expect(await snapshot(lab)).toBe(written);
    }
    // One sync adds the rule on a kernel that can match them.
    expect((await sync(open(lab), desired)).before.inSync).toBe(false);
    expect((await sync(open(lab, WITHOUT_XFRM), desired)).before.inSync).toBe(true);
    await backend.remove();
  });
});
