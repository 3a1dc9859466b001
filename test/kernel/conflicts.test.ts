import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Lines } from "../../lab/lines.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { foreignChange } from "../../src/backends/watch.ts";
import type { Conflict } from "../../src/conflicts/conflict.ts";
import { findConflicts } from "../../src/conflicts/find.ts";
import { judge } from "../../src/conflicts/judge.ts";
import { isOurs } from "../../src/conflicts/own-rules.ts";
import { readNatHooks } from "../../src/conflicts/read.ts";
import { type Chroot, debianChroot } from "../debian/chroot.ts";
import { Firewalld } from "../debian/firewalld.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { absent, programTest } from "../programs.ts";
import { programsOf } from "./backends-under-test.ts";

const meant = policy({ keep: ["10.0.0.0/8", "192.168.0.0/16"] });
/** An address in each of our CIDRs that the rules below catch. */
const WITHIN: Readonly<Record<string, string>> = {
  "169.254.0.0/16": "169.254.7.7",
  "10.0.0.0/8": "10.1.2.3",
  "192.168.0.0/16": "192.168.1.1",
};
const EVERYTHING = ["169.254.0.0/16", "10.0.0.0/8", "192.168.0.0/16"];
/** The address of a docker container. */
const CONTAINER = "172.17.0.2";

const lab = labPerFile();
beforeAll(() => lab.addPodAddress(CONTAINER));
afterEach(() => lab.flushRules());

async function found(): Promise<Conflict[]> {
  await sync(new NftablesBackend(lab.node.command(["nft"])), meant);
  const { hooks, unread } = await readNatHooks({
    programs: programsOf(lab),
    skip: isOurs(meant, "nftables"),
  });
  expect(unread).toEqual([]);
  return judge(hooks, meant, "nftables");
}

interface Case {
  readonly name: string;
  /** A script for `sh`; `$ipt` is iptables with table nat. */
  readonly rules: string;
  readonly expected: Partial<Conflict>;
  /** Whether the rule catches connections to each CIDR that it exposes. */
  readonly caught?: boolean;
  /** The source of these connections, by default a Pod. */
  readonly from?: string;
  /** A destination that the rule does not catch. */
  readonly kept?: string;
}

/** Rules as the programs write them. */
const CASES: readonly Case[] = [
  {
    name: "kube-proxy (iptables)",
    rules: `
      $ipt -N KUBE-POSTROUTING; $ipt -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
      $ipt -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
      $ipt -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
      $ipt -A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`,
    expected: {
      owner: "kube-proxy or kubelet",
      chain: "KUBE-POSTROUTING",
      harmless: true,
      runs: "before ipmasq",
    },
    kept: "10.1.2.3",
  },
  {
    name: "kube-proxy (nftables)",
    rules: `nft 'add table ip kube-proxy; add chain ip kube-proxy masquerading; add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100; }; add rule ip kube-proxy nat-postrouting jump masquerading; add rule ip kube-proxy masquerading meta mark & 0x4000 == 0 return; add rule ip kube-proxy masquerading meta mark set meta mark ^ 0x4000; add rule ip kube-proxy masquerading masquerade fully-random'`,
    expected: {
      owner: "kube-proxy or kubelet",
      tool: "nft",
      table: "kube-proxy",
      chain: "nat-postrouting",
      harmless: true,
    },
    kept: "10.1.2.3",
  },
  {
    name: "flannel",
    rules: `
      $ipt -N FLANNEL-POSTRTG; $ipt -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
      $ipt -A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
      $ipt -A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully`,
    expected: {
      owner: "flannel",
      exposes: EVERYTHING,
      sources: ["10.244.0.0/16"],
      certain: true,
      harmless: false,
    },
    caught: true,
  },
  {
    name: "kubelet (kubenet)",
    rules: `$ipt -A POSTROUTING -m comment --comment "kubenet: SNAT for outbound traffic from cluster" -m addrtype ! --dst-type LOCAL ! -d 10.0.0.0/8 -j MASQUERADE`,
    expected: {
      owner: "kubelet (kubenet)",
      exposes: ["169.254.0.0/16", "192.168.0.0/16"],
      remedy: "start kubelet with --non-masquerade-cidr=0.0.0.0/0; or set enforceNonMasquerade: true",
      harmless: false,
    },
    caught: true,
    kept: "10.1.2.3",
  },
  {
    name: "a CNI plugin with ipMasq",
    rules: `
      $ipt -N CNI-0123456789abcdef01234567; $ipt -A POSTROUTING -s 10.244.1.2/32 -j CNI-0123456789abcdef01234567
      $ipt -A CNI-0123456789abcdef01234567 -d 10.0.0.0/8 -j ACCEPT
      $ipt -A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 -j MASQUERADE`,
    expected: {
      owner: "a CNI plugin with ipMasq",
      exposes: ["169.254.0.0/16", "192.168.0.0/16"],
      harmless: false,
    },
    caught: true,
    kept: "10.1.2.3",
  },
  {
    name: "docker",
    rules: "$ipt -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    expected: { owner: "docker", chain: "POSTROUTING", exposes: EVERYTHING, sources: ["172.17.0.0/16"] },
    caught: true,
    from: CONTAINER,
    kept: "10.1.2.3",
  },
  {
    name: "kindnet with our CIDRs in its set",
    rules: `nft 'add table inet kindnet-ipmasq; add set inet kindnet-ipmasq noMasqV4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 169.254.0.0/16, 192.168.0.0/16 }; }; add chain inet kindnet-ipmasq postrouting { type nat hook postrouting priority 110; }; add rule inet kindnet-ipmasq postrouting ip daddr @noMasqV4 accept; add rule inet kindnet-ipmasq postrouting masquerade'`,
    expected: { owner: "kindnet", family: "inet", exposes: [], harmless: true, runs: "after ipmasq" },
    kept: "10.1.2.3",
  },
  {
    name: "a manual SNAT rule",
    rules: "$ipt -A POSTROUTING -d 10.1.0.0/16 -o eth0 -j SNAT --to-source 198.51.100.2",
    expected: { owner: "unknown", exposes: ["10.0.0.0/8"], harmless: false },
    caught: true,
    kept: "10.2.2.3",
  },
  {
    name: "a manual nft rule with an anonymous set",
    rules: `nft 'add table ip mine; add chain ip mine post { type nat hook postrouting priority 150; }; add rule ip mine post ip daddr { 192.168.1.0/24, 203.0.113.0/24 } masquerade'`,
    expected: {
      owner: "unknown",
      rule: "ip daddr { 192.168.1.0/24, 203.0.113.0/24 } masquerade",
      exposes: ["192.168.0.0/16"],
      certain: true,
      harmless: false,
    },
    caught: true,
    kept: "192.168.2.1",
  },
  {
    name: "calico (nftables)",
    rules: `nft 'add table ip calico; add set ip calico cali40masq-ipam-pools { type ipv4_addr; flags interval; elements = { 10.244.0.0/16 }; }; add set ip calico cali40all-ipam-pools { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }; add chain ip calico nat-cali-nat-outgoing; add chain ip calico nat-POSTROUTING { type nat hook postrouting priority 95; }; add rule ip calico nat-POSTROUTING jump nat-cali-nat-outgoing; add rule ip calico nat-cali-nat-outgoing ip saddr @cali40masq-ipam-pools ip daddr != @cali40all-ipam-pools counter masquerade fully-random'`,
    expected: {
      owner: "calico",
      chain: "nat-cali-nat-outgoing",
      exposes: ["169.254.0.0/16", "192.168.0.0/16"],
      sources: ["10.244.0.0/16"],
      certain: true,
      harmless: false,
    },
    caught: true,
    kept: "10.1.2.3",
  },
  {
    name: "a manual nft rule with a verdict map",
    rules: `nft 'add table ip mine; add chain ip mine there; add rule ip mine there masquerade; add chain ip mine post { type nat hook postrouting priority 90; }; add rule ip mine post ip daddr vmap { 10.1.0.0/16 : jump there }'`,
    expected: { owner: "unknown", chain: "there", exposes: EVERYTHING, certain: false, harmless: false },
    kept: "10.2.2.3",
  },
  {
    name: "a rule for other destinations only",
    rules: "$ipt -A POSTROUTING -d 203.0.113.0/24 -j MASQUERADE",
    expected: { owner: "unknown", exposes: [], harmless: true },
    kept: "10.1.2.3",
  },
  {
    name: "another ip-masq-agent",
    rules: `
      $ipt -N IP-MASQ-AGENT; $ipt -A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
      $ipt -A IP-MASQ-AGENT -d 10.0.0.0/8 -j RETURN
      $ipt -A IP-MASQ-AGENT -j MASQUERADE`,
    expected: {
      owner: "another ip-masq-agent",
      exposes: ["169.254.0.0/16", "192.168.0.0/16"],
      harmless: false,
    },
    caught: true,
    kept: "10.1.2.3",
  },
];

describe.each(["iptables-nft", "iptables-legacy"])("%s", program => {
  const cases = CASES.filter(({ rules }) => program === "iptables-nft" || rules.includes("$ipt"));
  test.each(cases)("$name", async ({ rules, expected, caught, from, kept }) => {
    const tool = rules.includes("$ipt") ? { tool: program as Conflict["tool"] } : {};
    await lab.node.output(["sh", "-ec", `ipt="${program} -t nat"; ${rules}`]);
    const [first, ...more] = await found();
    expect(first).toMatchObject({ ...tool, ...expected });
    expect(more).toEqual([]);
    const owner = async (to: string, source = "10.244.1.2") =>
      lab.ownerSeen({ protocol: "udp", to, from: source });
    for (const cidr of caught ? (first?.exposes ?? []) : []) {
      expect(await owner(WITHIN[cidr] ?? "", from), cidr).toBe("node");
    }
    if (kept !== undefined) expect(await owner(kept)).toBe("pod");
  });
});

const firewalldRoot = await debianChroot("firewalld");
describe("firewalld", () => {
  if ("missing" in firewalldRoot) absent(firewalldRoot.missing);
  else {
    test.each(["nftables", "iptables"] as const)(
      "with %s and masquerading",
      async backend => {
        const firewalld = await Firewalld.start(lab.node, firewalldRoot, backend);
        try {
          expect((await found()).filter(({ harmless }) => !harmless)).toEqual([]);
          await firewalld.command("--zone=trusted", "--add-masquerade");
          const [first] = await found();
          expect(first).toMatchObject({ owner: "firewalld", exposes: EVERYTHING, harmless: false });
          const { source } = await lab.connect({ protocol: "udp", to: "10.1.2.3" });
          expect(lab.owner(source)).toBe("node");
        } finally {
          await firewalld.stop();
        }
      },
      20_000,
    );
  }
});

/** Programs that make a container network with one container, 10.88.0.2. */
const PLUGINS: readonly {
  readonly name: "cni-plugins" | "netavark";
  readonly owner: string;
  command(program: Chroot, netns: string): readonly string[];
  readonly config: unknown;
}[] = [
  {
    name: "cni-plugins",
    owner: "a CNI plugin with ipMasq",
    command: (program, netns) => [
      ...["env", "CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", `CNI_NETNS=${netns}`, "CNI_IFNAME=eth0"],
      ...["CNI_PATH=/usr/lib/cni", ...program.command(["/usr/lib/cni/bridge"])],
    ],
    config: {
      cniVersion: "0.4.0",
      name: "theirs",
      type: "bridge",
      bridge: "theirs0",
      isGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", subnet: "10.88.0.0/16", dataDir: "/run/cni" },
    },
  },
  {
    name: "netavark",
    owner: "podman (netavark)",
    command: (program, netns) =>
      program.command(["/usr/lib/podman/netavark", "--config", "/run", "setup", netns]),
    config: {
      container_id: "c".repeat(64),
      container_name: "c1",
      networks: { theirs: { interface_name: "eth0", static_ips: ["10.88.0.2"] } },
      network_info: {
        theirs: {
          name: "theirs",
          id: "a".repeat(64),
          driver: "bridge",
          network_interface: "theirs0",
          subnets: [{ subnet: "10.88.0.0/16", gateway: "10.88.0.1" }],
          ipv6_enabled: false,
          internal: false,
          dns_enabled: false,
          ipam_options: { driver: "host-local" },
        },
      },
    },
  },
];

for (const { name, owner, command, config } of PLUGINS) {
  await programTest(
    name,
    `the rules that ${name} writes`,
    async program => {
      const container = lab.node.spawn(["unshare", "--net", "sh", "-c", "echo begun; exec sleep 60"]);
      await new Lines(container.stdout).until("begun");
      const netns = `/proc/${container.pid}/ns/net`;
      await lab.node.output(command(program, netns), { input: JSON.stringify(config) });
      const all = await found();
      const harmful = all.filter(({ harmless }) => !harmless);
      expect(harmful).toMatchObject([{ owner, exposes: EVERYTHING, certain: true }]);
      await lab.addPodAddress("10.88.0.2"); // replaces the container: its route is narrower
      const { source } = await lab.connect({ protocol: "udp", to: "10.1.2.3", from: "10.88.0.2" });
      expect(lab.owner(source)).toBe("node");
      container.kill();
      await lab.node.output(["ip", "link", "delete", "theirs0"]);
      await lab.close();
      await lab.open();
      await lab.addPodAddress(CONTAINER);
    },
    20_000,
  );
}

await programTest(
  "docker",
  "the rules that dockerd writes",
  async docker => {
    const folders = [
      "--data-root=/run/data",
      "--exec-root=/run/exec",
      "--pidfile=/run/pid",
      "--host=unix:///run/sock",
    ];
    const command = docker.command([
      "/usr/sbin/dockerd",
      ...folders,
      "--storage-driver=vfs",
      "--log-level=fatal",
    ]);
    const dockerd = lab.node.spawn(command, { stderr: "ignore" });
    const rules = () => lab.node.output(["iptables-nft", "-t", "nat", "-S"]);
    while (!(await rules()).includes("MASQUERADE")) {
      expect(dockerd.exitCode).toBe(null);
      await Bun.sleep(50);
    }
    const [first, ...more] = await found();
    expect(first).toMatchObject({
      owner: "docker",
      exposes: EVERYTHING,
      sources: ["172.17.0.0/16"],
      certain: true,
    });
    expect(more.filter(({ harmless }) => !harmless)).toEqual([]);
    const { source } = await lab.connect({ protocol: "udp", to: "10.1.2.3", from: CONTAINER });
    expect(lab.owner(source)).toBe("node");
    dockerd.kill();
    await dockerd.exited;
    await lab.close();
    await lab.open();
    await lab.addPodAddress(CONTAINER);
  },
  30_000,
);

await programTest(
  "libvirt",
  "the rules that libvirtd writes",
  async libvirt => {
    const network = `<network><name>theirs</name><forward mode="nat"/><bridge name="virbr0"/><ip address="172.17.0.1" netmask="255.255.0.0"/></network>`;
    const start = `
    mkdir -p /var/lib/libvirt/dnsmasq
    echo '${network}' >/run/network.xml
    libvirtd --config /dev/null 2>/dev/null &
    until virsh -c network:///system net-create /run/network.xml 2>/dev/null; do sleep 0.1; done
    kill $!`;
    await lab.node.output(["timeout", "20", ...libvirt.command(["/bin/sh", "-c", start])]);
    const harmful = (await found()).filter(({ harmless }) => !harmless);
    expect(harmful).toHaveLength(3); // for tcp, udp and other protocols
    for (const rule of harmful) {
      expect(rule).toMatchObject({
        owner: "libvirt",
        exposes: EVERYTHING,
        sources: ["172.17.0.0/16"],
        certain: true,
      });
    }
    const { source } = await lab.connect({ protocol: "udp", to: "10.1.2.3", from: CONTAINER });
    expect(lab.owner(source)).toBe("node");
    await lab.close();
    await lab.open();
    await lab.addPodAddress(CONTAINER);
  },
  30_000,
);

test("a dormant table has no conflicts until it wakes, which is reported", async () => {
  await sync(new NftablesBackend(lab.node.command(["nft"])), meant);
  const chain = "chain post { type nat hook postrouting priority 90; masquerade; }";
  await lab.node.output(["nft", `table ip theirs { flags dormant; ${chain}; }`]);
  const find = () => findConflicts(meant, "nftables", programsOf(lab));
  const asleep = await find();
  expect([asleep.conflicts, asleep.unread]).toEqual([[], []]);
  expect(await lab.ownerSeen({ protocol: "udp", to: "10.1.2.3" })).toBe("pod");
  const monitor = lab.node.spawn(["nft", "monitor"]);
  const events = new Lines(monitor.stdout);
  const changes = async (command: string) => {
    await lab.node.output(["nft", command]);
    const lines = await events.until("# new generation");
    return lines.map(line => foreignChange(line)?.where).filter(it => it !== undefined);
  };
  await Bun.sleep(100); // until the monitor listens
  expect(await changes("add table ip theirs")).toEqual(["ip theirs"]);
  expect([...asleep.visited].some(it => it.startsWith("ip theirs "))).toBe(true);
  expect((await find()).conflicts).toMatchObject([{ table: "theirs", exposes: EVERYTHING }]);
  expect(await lab.ownerSeen({ protocol: "tcp", to: "10.1.2.3" })).toBe("node");
  expect(await changes("add table ip theirs { flags dormant; }")).toEqual(["ip theirs"]);
  expect((await find()).conflicts).toEqual([]);
  monitor.kill();
});

test("a rule that only reaches interfaces on which the policy masquerades nothing is harmless", async () => {
  const chain = (out: string) =>
    `chain post { type nat hook postrouting priority 90; oifname ${out} masquerade; }`;
  for (const [interfaces, out, exposes] of [
    [["eth1"], "eth0", []],
    [["!eth0"], "eth0", []],
    [["eth1"], "!= eth1", []],
    [["eth0"], "eth0", EVERYTHING],
    [["eth*"], "{ eth0, wg0 }", EVERYTHING],
    [["eth1"], "{ eth0, wg0 }", []],
  ] as const) {
    const policyOf = policy({ keep: ["10.0.0.0/8", "192.168.0.0/16"], interfaces });
    await lab.node.output([
      "nft",
      `table ip theirs; delete table ip theirs; table ip theirs { ${chain(out)}; }`,
    ]);
    const { conflicts } = await findConflicts(policyOf, "nftables", programsOf(lab));
    expect([interfaces, out, conflicts.map(it => it.exposes)]).toEqual([interfaces, out, [[...exposes]]]);
  }
});

test("no conflicts without foreign rules", async () => {
  expect(await found()).toEqual([]);
});

test("a chain with 10,000 exceptions exposes only other CIDRs", async () => {
  const returns = Array.from(
    { length: 10_000 },
    (_, i) => `-A THEIRS -d 172.31.${i >> 8}.${i & 255} -j RETURN\n`,
  );
  const kept = EVERYTHING.slice(0, 2).map(cidr => `-A THEIRS -d ${cidr} -j RETURN\n`);
  const input = `*nat\n:THEIRS -\n-A POSTROUTING -j THEIRS\n${[...returns, ...kept].join("")}-A THEIRS -j MASQUERADE\nCOMMIT\n`;
  await lab.node.output(["iptables-nft-restore"], { input });
  expect(await found()).toMatchObject([{ chain: "THEIRS", exposes: ["192.168.0.0/16"] }]);
}, 10_000);

test("10,000 foreign rules are read within the time limit", async () => {
  const rules = Array.from(
    { length: 10_000 },
    (_, i) => `add rule ip theirs post ip saddr 172.31.${i >> 8}.${i & 255} masquerade\n`,
  );
  const table = "add table ip theirs\nadd chain ip theirs post { type nat hook postrouting priority 100; }\n";
  await lab.node.output(["nft", "-f", "-"], { input: table + rules.join("") });
  expect(await found()).toHaveLength(10_000);
}, 10_000);
