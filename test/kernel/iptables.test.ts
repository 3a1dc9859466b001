import { afterEach, describe, expect, test } from "bun:test";
import { Lines } from "../../lab/lines.ts";
import type { Comparison } from "../../src/backends/backend.ts";
import { chooseBackend, everyBackend } from "../../src/backends/choose.ts";
import { IptablesBackend } from "../../src/backends/iptables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import type { Host } from "../../src/system/host.ts";
import { IptablesCommands, type Variant } from "../../src/xtables/commands.ts";
import { chooseCommands } from "../../src/xtables/variant.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { programsOf } from "./backends-under-test.ts";
import { upstreamAgentSync } from "./upstream-agent.ts";

const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";
const VARIANTS = ["iptables-nft", "iptables-legacy"] as const;
const COMMENT =
  "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain";

/** Without name look-ups: there is no DNS, and /etc/networks may name link-local. */
const NO_DNS =
  "unshare --mount sh -c 'mount --bind /dev/null /etc/resolv.conf && { [ ! -e /etc/networks ] || mount --bind /dev/null /etc/networks; } && exec sh -c \"$0\"'";

const lab = labPerFile();
afterEach(() => lab.flushRules());

const run = (line: string) => lab.node.output(["sh", "-c", line]);
const backend = (variant: Variant, lock = 10) =>
  new IptablesBackend(
    new IptablesCommands(variant, variant.slice("iptables".length), true, programsOf(lab), lock),
    undefined,
    50,
  );

/** The rules that ip-masq-agent leaves in a chain of a given name. */
const upstreamAgent = (variant: Variant, chain = "IP-MASQ-AGENT") =>
  run(`${variant}-restore --noflush <<END
*nat
:${chain} - [0:0]
-A ${chain} -d 169.254.0.0/16 -m comment --comment "ip-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN
-A ${chain} -d 10.0.0.0/8 -m comment --comment "ip-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN
-A ${chain} -m comment --comment "ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE
COMMIT
END
${variant} -t nat -A POSTROUTING -m comment --comment "${COMMENT.replace("IP-MASQ-AGENT", chain)}" -m addrtype ! --dst-type LOCAL -j ${chain}`);

/** Foreign rules: of a CNI plugin, of docker, and two by hand. */
const foreignRules = (variant: Variant) =>
  run(`${variant}-restore --noflush <<'END'
*nat
:CNI-1234 - [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.88.0.0/16 -m comment --comment "name: \\"podman\\" id: \\"1234\\"" -j CNI-1234
-A CNI-1234 -d 10.88.0.0/16 -m comment --comment "name: \\"podman\\" id: \\"1234\\"" -j ACCEPT
-A CNI-1234 ! -d 224.0.0.0/4 -p tcp -m statistic --mode random --probability 0.33333333349 -j MASQUERADE --to-ports 1024-2048
COMMIT
END`);

const saved = async (variant: Variant) =>
  (await run(`${variant}-save -t nat`)).replace(/^#.*\n/gm, "").replace(/\[\d+:\d+\]/g, "");

/** The foreign lines of table nat. */
const theirs = async (variant: Variant) =>
  (await saved(variant)).split("\n").filter(line => !/IP-MASQ|ip-masq-agent/.test(line));

async function readable(): Promise<void> {
  for (const variant of VARIANTS) {
    const program6 = variant.replace("ip", "ip6");
    for (const program of [variant, program6]) {
      await run(`${program} -t nat -L -v -n && ${program} -t nat -S && ${program}-save -t nat`);
    }
  }
}

describe.each(VARIANTS)("%s", variant => {
  test("lists the defaults as ip-masq-agent does", async () => {
    await sync(backend(variant), policy());
    expect(
      await run(`${NO_DNS} '${variant} -t nat -L IP-MASQ-AGENT'`),
    ).toBe(`Chain IP-MASQ-AGENT (1 references)
target     prot opt source               destination         
RETURN     all  --  anywhere             anywhere             /* ip-masq-agent: traffic under an IPsec policy is never masqueraded */ policy match dir out pol ipsec
RETURN     all  --  anywhere             224.0.0.0/4          /* ip-masq-agent: multicast is never masqueraded */
RETURN     all  --  anywhere             anywhere             /* ip-masq-agent: broadcast is never masqueraded */ ADDRTYPE match dst-type BROADCAST
RETURN     all  --  anywhere             169.254.0.0/16       /* ip-masq-agent: cluster-local traffic */
RETURN     all  --  anywhere             10.0.0.0/8           /* ip-masq-agent: cluster-local traffic */
RETURN     all  --  anywhere             172.16.0.0/12        /* ip-masq-agent: cluster-local traffic */
RETURN     all  --  anywhere             192.168.0.0/16       /* ip-masq-agent: cluster-local traffic */
MASQUERADE  all  --  anywhere             anywhere             /* ip-masq-agent: outbound traffic */ random-fully
`);
    await run(
      `${variant} -t nat -C POSTROUTING -m comment --comment "${COMMENT}" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT`,
    );
  });

  test.each([
    ["unchanged", ""],
    ["with two jumps", `${variant} -t nat -A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ`],
    [
      "with a jump whose comment was changed",
      `${variant} -t nat -R POSTROUTING 3 -m comment --comment mine -m addrtype ! --dst-type LOCAL -j IP-MASQ`,
    ],
    ["with a jump that matches too much", `${variant} -t nat -R POSTROUTING 3 -j IP-MASQ`],
  ])("takes over what ip-masq-agent left, %s", async (_what, tamper) => {
    for (const chain of ["IP-MASQ", "IP-MASQ-AGENT"]) {
      await foreignRules(variant);
      const before = await theirs(variant);
      await upstreamAgent(variant, "IP-MASQ");
      if (tamper) await run(tamper);
      await sync(backend(variant), policy({}, { masqChain: chain }));
      const text = await saved(variant);
      expect(text.match(new RegExp(`^-A POSTROUTING .*-j ${chain}$`, "gm"))).toHaveLength(1);
      expect(text.match(/^:IP-MASQ\S*/gm)).toEqual([`:${chain}`]);
      expect(await theirs(variant)).toEqual(before);
      await backend(variant).remove();
      expect(await saved(variant)).not.toMatch(/IP-MASQ|ip-masq/);
      expect(await theirs(variant)).toEqual(before);
      await run(`${variant} -t nat -F; ${variant} -t nat -X`);
    }
  });

  test("replaces ip-masq-agent and is replaced by it under load, without a wrong verdict", async () => {
    await upstreamAgent(variant);
    const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: 5000 });
    for (let i = 0; i < 20; i++) {
      await sync(backend(variant), policy({ keep: ["10.0.0.0/8", `192.0.2.${i}/32`] }));
      await upstreamAgent(variant).catch(() => {});
    }
    const [kept, outbound] = await load.stop();
    expect(kept).toMatchObject({ fromNode: 0, other: 0 });
    expect(outbound).toMatchObject({ fromPod: 0, other: 0 });
  }, 60_000);

  test("a running ip-masq-agent with the same CIDRs removes the rules for IPsec, multicast and broadcast each time", async () => {
    const ours = backend(variant);
    const desired = policy({ keep: ["10.0.0.0/8", "192.168.0.0/16"] });
    const theirs = () => upstreamAgentSync(lab.node, variant, ["10.0.0.0/8", "192.168.0.0/16"]);
    const jumps = async () => (await saved(variant)).match(/^-A POSTROUTING .*-j IP-MASQ-AGENT$/gm)?.length;
    const missing = ({ actual, desired }: Comparison) => desired.filter(line => !actual.includes(line));
    await theirs();
    const { before, after } = await sync(ours, desired);
    const lacks = missing(before);
    expect(lacks.map(line => /"ip-masq-agent: (.*) is never/.exec(line)?.[1])).toEqual([
      "traffic under an IPsec policy",
      "multicast",
      "broadcast",
    ]);
    expect(missing(after)).toEqual([]);
    for (let i = 0; i < 3; i++) {
      await theirs(); // it recognises its jump, so there is only one
      expect(await jumps()).toBe(1);
      expect(missing((await sync(ours, desired)).before)).toEqual(lacks);
      expect(await jumps()).toBe(1);
    }
    await ours.remove();
    await sync(ours, desired); // ipmasq wrote first
    await theirs();
    expect(await jumps()).toBe(2);
    await sync(ours, desired);
    expect(await jumps()).toBe(1);
    await ours.remove();
    expect(await saved(variant)).not.toContain("ip-masq");
  });

  test("keeps counters when something else changes", async () => {
    await sync(backend(variant), policy());
    await lab.connect({ protocol: "udp", to: KEPT });
    await lab.connect({ protocol: "udp", to: OUTBOUND });
    await sync(backend(variant), policy({ keep: ["192.0.2.0/24", "10.0.0.0/8"] }));
    const { counters } = await backend(variant).plan(policy());
    expect(
      counters.map(({ verdict, cidr, connections }) => `${verdict} ${cidr ?? "rest"} ${connections}`),
    ).toEqual(["keep 169.254.0.0/16 0", "keep 192.0.2.0/24 0", "keep 10.0.0.0/8 1", "masquerade rest 1"]);
  });
});

describe("the lock of iptables-legacy", () => {
  const held = (seconds: number) =>
    lab.node.spawn([
      "flock",
      "--no-fork",
      "/run/xtables.lock",
      "sh",
      "-c",
      `echo held; exec sleep ${seconds}`,
    ]);

  test("is awaited if another program holds it for a moment", async () => {
    const holder = held(1.5);
    await new Lines(holder.stdout).until("held");
    await sync(backend("iptables-legacy"), policy());
    expect(await holder.exited).toBe(0);
  }, 15_000);

  test("is an error if another program holds it for long, and nothing is half written", async () => {
    const holder = held(30);
    await new Lines(holder.stdout).until("held");
    await expect(sync(backend("iptables-legacy", 1), policy())).rejects.toThrow(
      "another program holds the lock of iptables: check which one has /run/xtables.lock open",
    );
    holder.kill();
    await holder.exited;
    expect(await saved("iptables-legacy")).not.toContain("IP-MASQ");
  }, 15_000);
});

describe("the choice", () => {
  const hidden = (...names: string[]): Host => {
    const all = programsOf(lab);
    return { ...all, has: name => !names.includes(name) && all.has(name) };
  };
  const chosen = async (requested: "auto" | "nftables" | "iptables", programs: Host = programsOf(lab)) => {
    const { backend, reason } = await chooseBackend({ requested, policy: policy(), host: programs });
    return `${backend.name} by ${backend.writer}: ${reason}`;
  };

  test("is nftables if nft is installed and the kernel accepts the rules", async () => {
    expect(await chosen("auto")).toMatch(
      /^nftables by nft: nft 1\.\S+ is installed and the kernel accepts the ruleset$/,
    );
    expect(await run("nft list ruleset")).toBe("");
  });

  test("is iptables without nft", async () => {
    expect(await chosen("auto", hidden("nft"))).toBe(
      "iptables by iptables-nft: nft is not installed; iptables-nft has 0 rules, iptables-legacy 0",
    );
  });

  test("is nft for the chain without iptables", async () => {
    const programs = hidden("iptables", "iptables-nft", "iptables-legacy");
    expect(await chosen("iptables", programs)).toBe(
      "iptables by nft: --backend=iptables; iptables is not installed",
    );
  });

  test("is an error without both, which names the packages to install", async () => {
    const programs = hidden("nft", "iptables", "iptables-nft", "iptables-legacy");
    await expect(chosen("iptables", programs)).rejects.toThrow(
      "neither iptables nor nft is installed; install nftables or iptables",
    );
  });

  test("is the variant of kubelet's hint chain, regardless of other rules", async () => {
    await run("iptables-legacy -t mangle -N KUBE-KUBELET-CANARY");
    expect((await chooseCommands(programsOf(lab)))?.reason).toBe(
      "kubelet's chain KUBE-KUBELET-CANARY is in iptables-legacy",
    );
    await run("iptables-nft -t mangle -N KUBE-IPTABLES-HINT");
    expect((await chooseCommands(programsOf(lab)))?.reason).toBe(
      "kubelet's chain KUBE-IPTABLES-HINT is in iptables-nft",
    );
    await run("iptables-legacy -t mangle -X");
  });

  test("is the variant with more rules without a hint chain", async () => {
    await run("iptables-legacy -t nat -A POSTROUTING -s 10.1.0.0/16 -j RETURN");
    expect((await chooseCommands(programsOf(lab)))?.reason).toBe(
      "iptables-nft has 0 rules, iptables-legacy 1",
    );
    expect((await chooseCommands(programsOf(lab)))?.commands.variant).toBe("iptables-legacy");
  });

  test("is an error without ip6tables if IPv6 is enabled", async () => {
    const programs = hidden("ip6tables-nft-save");
    const tools = new IptablesCommands("iptables-nft", "-nft", true, programs);
    await expect(new IptablesBackend(tools).plan(policy({}, { enableIPv6: true }))).rejects.toThrow(
      "ip6tables-nft-save: is not installed; install ip6tables, or turn IPv6 off",
    );
  });
});

test("switches between all backends under load give no wrong verdict, leave no rules behind, and change no foreign rules", async () => {
  for (const variant of VARIANTS) await foreignRules(variant);
  const before = await Promise.all(VARIANTS.map(theirs));
  const iptables = {
    ...programsOf(lab),
    has: (name: string) => name !== "iptables-nft" && programsOf(lab).has(name),
  };
  const ways = [
    ["nftables", programsOf(lab)],
    ["iptables", programsOf(lab)],
    ["nftables", programsOf(lab)],
    ["iptables", iptables],
  ] as const;
  const choose = (requested: "nftables" | "iptables", programs: Host) =>
    chooseBackend({ requested, host: programs, policy: policy() });
  await sync((await choose("nftables", programsOf(lab))).backend, policy({}, { enableIPv6: true }));
  const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: 5000 });
  for (let i = 0; i < 12; i++) {
    const [requested, programs] = ways[i % ways.length] ?? ways[0];
    const { backend } = await choose(requested, programs);
    await sync(backend, policy({}, { enableIPv6: true }));
    expect((await backend.removeLeftovers(policy({}, { enableIPv6: true }))).failures).toEqual([]);
    const elsewhere = (await everyBackend(undefined, programsOf(lab))).filter(it => it.name !== backend.name);
    expect((await Promise.all(elsewhere.map(it => it.actual()))).flat()).toEqual([]);
    await readable();
  }
  const [kept, outbound] = await load.stop();
  expect(kept).toMatchObject({ fromNode: 0, other: 0 });
  expect(outbound).toMatchObject({ fromPod: 0, other: 0 });
  for (const each of await everyBackend(undefined, programsOf(lab))) await each.remove();
  expect(await Promise.all(VARIANTS.map(theirs))).toEqual(before);
  expect(
    (await Promise.all((await everyBackend(undefined, programsOf(lab))).map(it => it.actual()))).flat(),
  ).toEqual([]);
}, 120_000);

test("kube-proxy's rules for 16,000 Services slow down neither the choice nor a sync", async () => {
  const rules = Array.from(
    { length: 30_000 },
    (_, i) => `-A KUBE-SERVICES -p tcp --dport ${1 + (i % 60_000)} -j RETURN`,
  );
  const input = `*nat\n:KUBE-SERVICES - [0:0]\n${rules.join("\n")}\nCOMMIT\n`;
  await lab.node.output(["iptables-nft-restore"], { input });
  const chosen = await chooseBackend({ requested: "iptables", policy: policy(), host: programsOf(lab) });
  expect(chosen.reason).toBe("--backend=iptables; iptables-nft has over 10000 rules, iptables-legacy 0");
  await chosen.backend.sync(policy());
  expect((await chosen.backend.sync(policy())).before.inSync).toBe(true);
  expect(chosen.backend.writer).toBe("iptables-nft");
}, 30_000);
