import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { BINARY } from "../../lab/agent.ts";
import { type ChooseOptions, chooseBackend } from "../../src/backends/choose.ts";
import { Failover } from "../../src/backends/failover.ts";
import { findConflicts } from "../../src/conflicts/find.ts";
import { exemptionKeptByIptables } from "../../src/conflicts/iptables-reason.ts";
import { Status } from "../../src/inspect/status.ts";
import { listTables } from "../../src/nft/node-tables.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { programsOf } from "./backends-under-test.ts";
import { upstreamAgentSync } from "./upstream-agent.ts";

const KEEP = ["10.0.0.0/8", "192.168.0.0/16"];
const MEANT = policy({ keep: KEEP });
const OTHER_POD = "10.244.1.77";
const VARIANTS = ["iptables-nft", "iptables-legacy"] as const;
type Variant = (typeof VARIANTS)[number];

const lab = labPerFile();
beforeAll(() => lab.addPodAddress(OTHER_POD));

const sh = (line: string) => lab.node.output(["sh", "-ec", line]);
afterEach(() => lab.flushRules());

const exemption: NonNullable<ChooseOptions["exemption"]> = (families, tables) =>
  exemptionKeptByIptables(
    { chain: MEANT.chain, policy: async () => MEANT, ...(families && { families }), tables },
    programsOf(lab),
  );

const tables = () => listTables(lab.node.command(["nft"]));

/** Runs a sync of ipmasq and returns the conflicts that it reports. */
async function ipmasq(requested: "auto" | "nftables" | "iptables") {
  const options = { requested, policy: MEANT, host: programsOf(lab), exemption };
  const backend = new Failover(await chooseBackend({ ...options, untested: true, tables: tables() }), 1);
  await backend.sync(MEANT);
  const { name, reason } = backend;
  if (name === "iptables")
    expect(await lab.node.output(["nft", "list", "tables"])).not.toContain("ip-masq-agent");
  const { conflicts } = await findConflicts(MEANT, name, programsOf(lab));
  return { name, reason, reported: conflicts.filter(({ harmless }) => !harmless) };
}

const CONNECTIONS = ["198.51.100.9", "203.0.113.7", "10.1.2.3", "192.168.9.9"].flatMap(to =>
  [undefined, OTHER_POD].map(from => ({ protocol: "udp" as const, to, ...(from && { from }) })),
);

async function verdicts(): Promise<Record<string, string>> {
  const seen = await Promise.all(
    CONNECTIONS.map(async it => [`${it.from ?? "Pod"} to ${it.to}`, await lab.ownerSeen(it)] as const),
  );
  return Object.fromEntries(seen);
}

test("the tables at the start count only for families that are searched at once", async () => {
  const asked = new Map<unknown, unknown>();
  const { backend } = await chooseBackend({
    requested: "auto",
    policy: MEANT,
    host: programsOf(lab),
    exemption: async (families, tables) => void asked.set(families?.join(), (await tables)?.has("ip", "nat")),
    untested: true,
    tables: tables(),
  });
  await backend.plan(policy({ keep: KEEP }, { enableIPv6: true }));
  expect(Object.fromEntries(asked)).toStrictEqual({ ip: false, ip6: undefined });
});

describe.each(VARIANTS)("in %s, an exemption that works with ip-masq-agent works with ipmasq", variant => {
  const ipt = `${variant} -t nat`;
  test.each([
    [
      "by destination",
      `${ipt} -A POSTROUTING -d 198.51.100.0/24 -j ACCEPT`,
      "connections to 198.51.100.0/24",
    ],
    ["by RETURN", `${ipt} -A POSTROUTING -d 198.51.100.0/24 -j RETURN`, "connections to 198.51.100.0/24"],
    [
      "by source",
      `${ipt} -A POSTROUTING -s ${OTHER_POD} -j ACCEPT`,
      `connections from ${OTHER_POD}/32 to 0.0.0.0/0`,
    ],
    [
      "by a mark",
      `${ipt} -A POSTROUTING -m mark --mark 0x8/0x8 -j ACCEPT; iptables-nft -t mangle -A FORWARD -d 198.51.100.0/24 -j MARK --set-mark 0x8`,
      "packets with mark 0x8/0x8 to 0.0.0.0/0",
    ],
    [
      "by protocol and port",
      `${ipt} -A POSTROUTING -p udp ! --dport 500 -j ACCEPT`,
      "udp packets with destination port other than 500 to 0.0.0.0/0",
    ],
    [
      "in a separate chain",
      `${ipt} -N VPN; ${ipt} -A VPN -d 198.51.100.0/24 -j ACCEPT; ${ipt} -A POSTROUTING -j VPN`,
      "connections to 198.51.100.0/24",
    ],
  ])("%s", async (_, rules, exempts) => {
    await sh(rules);
    await upstreamAgentSync(lab.node, variant, KEEP);
    const before = await verdicts();
    expect(before[`${OTHER_POD} to 198.51.100.9`]).toBe("pod"); // otherwise the test proves nothing
    const { name, reason, reported } = await ipmasq("auto");
    expect(await verdicts()).toEqual(before);
    expect([name, reported]).toEqual(["iptables", []]);
    expect(reason).toContain(`exempts ${exempts}; only iptables preserves this exemption`);
  });

  test("with --backend=nftables the exemption has no effect and is reported", async () => {
    await sh(`${ipt} -A POSTROUTING -d 198.51.100.0/24 -j ACCEPT`);
    const { reported } = await ipmasq("nftables");
    expect((await verdicts())["Pod to 198.51.100.9"]).toBe("node");
    expect(reported).toMatchObject([{ kind: "exempts", exempts: ["198.51.100.0/24"], tool: variant }]);
  });

  test("an exemption after the jump has no effect and does not change the choice", async () => {
    await upstreamAgentSync(lab.node, variant, KEEP);
    await sh(`${ipt} -A POSTROUTING -d 198.51.100.0/24 -j ACCEPT`);
    const before = await verdicts();
    expect(await ipmasq("auto")).toMatchObject({ name: "nftables" });
    expect(await verdicts()).toEqual(before);
  });
});

describe("auto still chooses nftables with", () => {
  test.each([
    ["no rules", ""],
    [
      "a CNI plugin with ipMasq",
      "-N CNI-0123456789abcdef01234567; $ipt -A POSTROUTING -s 10.244.1.2 -j CNI-0123456789abcdef01234567; $ipt -A CNI-0123456789abcdef01234567 -d 10.244.0.0/16 -j ACCEPT; $ipt -A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 -j MASQUERADE",
    ],
    [
      "kube-proxy",
      "-N KUBE-POSTROUTING; $ipt -A POSTROUTING -j KUBE-POSTROUTING; $ipt -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN; $ipt -A KUBE-POSTROUTING -j MASQUERADE",
    ],
    ["docker", "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"],
    ["an exemption of kept connections", "-A POSTROUTING -d 10.9.0.0/16 -j ACCEPT"],
    [
      "an exemption of IPsec, which is never masqueraded",
      "-A POSTROUTING -m policy --dir out --pol ipsec -j ACCEPT",
    ],
  ])("%s", async (_, rules) => {
    if (rules !== "") await sh(`ipt="iptables-nft -t nat"; $ipt ${rules}`);
    expect(await exemption()).toBe(undefined);
  });

  test("an exemption in a table that iptables cannot read", async () => {
    await sh("iptables-nft -t nat -A POSTROUTING -d 198.51.100.0/24 -j ACCEPT");
    await sh("nft 'add rule ip nat POSTROUTING oifname eth9 masquerade'");
    const { name, reported } = await ipmasq("auto");
    expect(name).toBe("nftables");
    expect(reported.map(({ kind }) => kind)).toContain("exempts");
  });

  test("an accept in a base chain of another table, which has no effect", async () => {
    await sh(
      "nft 'add table ip o; add chain ip o p { type nat hook postrouting priority 99; }; add rule ip o p ip daddr 198.51.100.0/24 accept'",
    );
    await upstreamAgentSync(lab.node, "iptables-nft", KEEP);
    const before = await verdicts();
    expect(await ipmasq("auto")).toMatchObject({ name: "nftables", reported: [] });
    expect(await verdicts()).toEqual(before);
  });

  test("programs that hang", async () => {
    await sh("iptables-nft -t nat -A POSTROUTING -d 198.51.100.0/24 -j ACCEPT");
    const programs = programsOf(lab);
    const hanging = { ...programs, argv: () => ["sleep", "60"] };
    const began = performance.now();
    expect(await exemptionKeptByIptables({ chain: MEANT.chain, policy: async () => MEANT }, hanging)).toBe(
      undefined,
    );
    expect(
      await exemptionKeptByIptables({ chain: MEANT.chain, policy: () => new Promise(() => {}) }, programs),
    ).toBe(undefined);
    expect(performance.now() - began).toBeLessThan(6000);
  }, 10_000);
});

/** A random rule that ends NAT, or that leads to one. */
const drawn = fc
  .record({
    match: fc.constantFrom(
      ...["-d 198.51.100.0/24", "-d 203.0.113.0/24", "-d 10.1.0.0/16", `-s ${OTHER_POD}`],
      ...[
        `-s ${OTHER_POD} -d 203.0.113.0/24`,
        "! -d 10.0.0.0/8",
        "-p udp",
        "-p tcp",
        "-o eth1",
        "-o eth0",
        "",
      ],
      "-m mark --mark 0x1",
    ),
    target: fc.constantFrom("ACCEPT", "RETURN", "INNER", "goto"),
    inner: fc.constantFrom(
      "-d 198.51.100.0/25 -j ACCEPT",
      "-d 203.0.113.0/24 -j RETURN",
      `-s ${OTHER_POD} -j ACCEPT`,
    ),
    behind: fc.boolean(),
  })
  .map(({ match, target, inner, behind }) => ({
    inner,
    rule: `${match} ${target === "goto" ? "-g INNER" : `-j ${target}`}`.trim(),
    behind,
  }));

test("with random exemptions, no verdict changes without a report when ipmasq replaces ip-masq-agent, or a backend the other", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<Variant>(...VARIANTS),
      fc.constantFrom<Variant>(...VARIANTS),
      fc.array(drawn, { minLength: 1, maxLength: 3 }),
      async (variant, where, rules) => {
        await lab.flushRules();
        const ipt = `${where} -t nat`;
        const add = (behind: boolean) =>
          rules.filter(it => it.behind === behind).map(({ rule }) => `${ipt} -A POSTROUTING ${rule};`);
        const inner = rules.map(it => `${ipt} -A INNER ${it.inner};`);
        await sh([`${ipt} -N INNER;`, ...inner, ...add(false)].join(""));
        await upstreamAgentSync(lab.node, variant, KEEP);
        await sh([":;", ...add(true)].join(""));
        const before = await verdicts();
        const auto = await ipmasq("auto");
        const after = await verdicts();
        if (auto.reported.length === 0) expect(after).toEqual(before);
        const byNft = await ipmasq("nftables");
        if (byNft.reported.length === 0) expect(await verdicts()).toEqual(after);
      },
    ),
    { numRuns: Number(process.env.EXEMPTION_RUNS ?? 12) },
  );
}, 60_000);

describe("the built binary", () => {
  const run = async (...args: string[]) => lab.node.run([BINARY, ...args]);
  const status = async (...args: string[]) =>
    v.parse(Status, JSON.parse((await run("status", "--output=json", ...args)).stdout));

  test("run --once with --backend=auto preserves an exemption, and status and explain name it", async () => {
    await sh("iptables-nft -t nat -A POSTROUTING -d 198.51.100.0/24 -j ACCEPT");
    expect((await run("run", "--once")).exitCode).toBe(0);
    expect((await verdicts())["Pod to 198.51.100.9"]).toBe("pod");
    expect(await status()).toMatchObject({ inSync: true, backend: "iptables" });
    const reason = `"-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT" exempts connections to 198.51.100.0/24; only iptables preserves this exemption`;
    expect((await status()).reason).toStartWith(reason);
    const { stdout } = await run("explain", "--live", "198.51.100.9");
    expect(stdout).toContain("-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT");
    expect(stdout).toContain("may exempt it");
    expect((await run("diff")).exitCode).toBe(0);
    await run("cleanup");
  });

  test("status after run --once --backend=iptables does not report our own chain as a conflict", async () => {
    expect((await run("run", "--once", "--backend=iptables", "--masq-chain=OURS")).exitCode).toBe(0);
    for (const flags of [[], ["--backend=nftables"], ["--backend=iptables"]]) {
      expect((await status("--masq-chain=OURS", ...flags)).conflicts).toEqual([]);
    }
    await run("cleanup", "--masq-chain=OURS");
  });
});
