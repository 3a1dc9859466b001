import { afterEach, describe, expect, test } from "bun:test";
import { chooseBackend, everyBackend } from "../../src/backends/choose.ts";
import { Failover } from "../../src/backends/failover.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { programsOf } from "./backends-under-test.ts";

const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";
const VARIANTS = ["iptables-nft", "iptables-legacy"] as const;
const REQUESTED = ["nftables", "iptables"] as const;

const lab = labPerFile();
afterEach(() => lab.flushRules());

const run = (line: string) => lab.node.output(["sh", "-c", line]);
const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const rulesOf = async (variant: string) =>
  (await run(`${variant}-save -t nat`)).split("\n").filter(line => /^(-A|:)/.test(line));
const restore = (variant: string, rules: string) =>
  lab.node.output([`${variant}-restore`, "--noflush"], { input: `*nat\n${rules}\nCOMMIT\n` });

/** Applies a policy, as `run --once` does. */
async function once(requested: (typeof REQUESTED)[number], chain = "IP-MASQ-AGENT", enableIPv6 = false) {
  const meant = policy({}, { masqChain: chain, enableIPv6 });
  const { backend } = await chooseBackend({ requested, policy: meant, host: programsOf(lab) });
  const synced = await backend.sync(meant);
  return { ...(await backend.removeLeftovers(meant)), synced, backend };
}

const GKE = `:IP-MASQ - [0:0]
-A POSTROUTING -m comment --comment "ip-masq: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ
-A IP-MASQ -d 169.254.0.0/16 -m comment --comment "ip-masq: local traffic is not subject to MASQUERADE" -j RETURN
-A IP-MASQ -d 203.0.113.0/24 -m comment --comment "ip-masq: RFC 5737 reserved range is not subject to MASQUERADE" -j RETURN
-A IP-MASQ -m comment --comment "ip-masq: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE`;

describe.each(VARIANTS)("in table nat of %s", variant => {
  describe.each(REQUESTED)("with --backend=%s", requested => {
    test("the chain of GKE's start-up script is replaced", async () => {
      await restore(variant, GKE);
      expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["node", "pod"]);
      expect((await once(requested)).failures).toEqual([]);
      expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);
      expect(await rulesOf(variant)).not.toContainEqual(expect.stringContaining("IP-MASQ "));
    });

    test.each([
      [
        "a chain with one rule that has a similar comment",
        `:MYCHAIN - [0:0]
-A POSTROUTING -s 192.168.77.0/24 -j MYCHAIN
-A MYCHAIN -d 192.0.2.0/24 -m comment --comment "ip-masq-agent: leave our VPN alone" -j RETURN
-A MYCHAIN -s 192.168.77.0/24 -j MASQUERADE`,
      ],
      [
        "a chain whose rules all have similar comments",
        `:MYCHAIN - [0:0]
-A POSTROUTING -m comment --comment "ip-masq-agent: my own" -j MYCHAIN
-A MYCHAIN -d 192.0.2.0/24 -m comment --comment "ip-masq-agent: leave our VPN alone" -j RETURN`,
      ],
      [
        "a chain with one of our rules and a foreign one",
        `:MYCHAIN - [0:0]
-A POSTROUTING -s 192.168.77.0/24 -j MYCHAIN
-A MYCHAIN -m comment --comment "ip-masq-agent: cluster-local traffic" -d 10.0.0.0/8 -j RETURN
-A MYCHAIN -s 192.168.77.0/24 -j SNAT --to-source 192.0.2.1`,
      ],
      [
        "a foreign chain with the name of GKE's",
        ":IP-MASQ - [0:0]\n-A POSTROUTING -j IP-MASQ\n-A IP-MASQ -d 192.0.2.0/24 -j ACCEPT",
      ],
      ["an empty chain", ":MYCHAIN - [0:0]\n-A POSTROUTING -s 192.168.77.0/24 -j MYCHAIN"],
    ])("%s is not changed", async (_what, rules) => {
      await restore(variant, rules);
      const before = await rulesOf(variant);
      const { backend } = await once(requested);
      expect(await rulesOf(variant)).toEqual(expect.arrayContaining(before));
      await backend.backend.remove();
      expect(await rulesOf(variant)).toEqual(before);
    });

    test("one of our chains that a foreign rule refers to is emptied", async () => {
      await restore(variant, `${GKE}\n:THEIRS - [0:0]\n-A THEIRS -s 192.0.2.0/24 -j IP-MASQ`);
      expect((await once(requested)).failures).toEqual([]);
      expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);
      const left = (await rulesOf(variant)).filter(line => /\bIP-MASQ\b/.test(line) && !/AGENT/.test(line));
      expect(left).toEqual([":IP-MASQ - [0:0]", "-A THEIRS -s 192.0.2.0/24 -j IP-MASQ"]);
      expect((await once(requested)).synced.before.inSync).toBe(true);
    });
  });
});

describe("beside a native nft rule in table nat", () => {
  test.each(["POSTROUTING", "PREROUTING"])("in chain %s, nothing fails", async chain => {
    const hook = chain.toLowerCase();
    await run(
      `nft 'table ip nat { chain ${chain} { type nat hook ${hook} priority 100; meta mark 77 fib daddr type local accept; }; }'`,
    );
    const { failures, synced, backend } = await once("nftables");
    expect([failures, synced.failures]).toEqual([[], []]);
    expect((await once("nftables")).synced.before.inSync).toBe(true);
    await backend.backend.remove();
    for (const it of await everyBackend(undefined, programsOf(lab))) await it.actual().catch(() => {});
    expect(await run("nft list ruleset")).not.toContain("ip-masq-agent");
  });

  test("explain --live works", async () => {
    await run(
      "nft 'table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; meta mark 77 fib daddr type local accept; }; }'",
    );
    const { backend } = await once("nftables");
    const { rules, failures } = await backend.rules(["ip"]);
    expect([rules.map(({ base }) => base), failures]).toEqual([["postrouting"], []]);
  });

  test("--backend=iptables writes with nft to the same table", async () => {
    await run(
      "nft 'table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; meta mark 77 fib daddr type local accept; }; }'",
    );
    const chosen = await chooseBackend({ requested: "iptables", policy: policy(), host: programsOf(lab) });
    const { moved } = await new Failover(chosen).sync(policy());
    expect(moved).toMatchObject({ from: "iptables-nft", to: "nft" });
    expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);
  });

  test("with IPv6, both families are in force, and stay with the writer that works", async () => {
    await run(
      "nft 'table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; meta mark 77 fib daddr type local accept; }; }'",
    );
    const both = policy({ keep: ["10.0.0.0/8", "fc00::/7"] }, { enableIPv6: true });
    const chosen = await chooseBackend({ requested: "iptables", policy: both, host: programsOf(lab) });
    const failover = new Failover(chosen, 3, { first: 0, last: 0, check: 2000 });
    const { moved, failures } = await failover.sync(both);
    expect([moved?.to, failures]).toEqual(["nft", []]);
    for (let i = 0; i < 2; i++) {
      const again = await failover.sync(both); // tries iptables-nft again
      expect([again.moved, again.failures, again.before.inSync]).toEqual([undefined, [], true]);
    }
    for (const to of [KEPT, "fd00:7::7"]) expect(await owner(to)).toBe("pod");
    for (const to of [OUTBOUND, "2001:db8:7::7"]) expect(await owner(to)).toBe("node");
  });

  test("leftovers of an ip-masq-agent are removed", async () => {
    await restore("iptables-nft", GKE.replaceAll("IP-MASQ", "IP-MASQ-AGENT"));
    await run("nft add rule ip nat POSTROUTING meta mark 77 fib daddr type local accept");
    expect((await once("nftables")).failures).toEqual([]);
    expect(await run("nft list table ip nat")).not.toContain("IP-MASQ-AGENT");
  });
});

test.each(REQUESTED)(
  "with --backend=%s, run --once without IPv6 removes the IPv6 rules of an earlier run",
  async requested => {
    await once(requested, "IP-MASQ-AGENT", true);
    const { lines, failures } = await once(requested);
    expect([lines.length > 0, failures]).toEqual([true, []]);
    expect(await run("nft list ruleset; ip6tables-save")).not.toMatch(
      /ip6 ip-masq-agent|-A IP-MASQ-AGENT.*fe80/,
    );
  },
);
