/** The state of the node for the blocks of the pages; `test/kernel/pages.test.ts` runs their commands. */

import type { Owner } from "../../lab/lab.ts";

/** The state of the node for one block. Everything is empty by default. */
export interface Scene {
  readonly page: string;
  /** The first line of the block; with a prompt, the first command. */
  readonly block: string;
  /** A line of the block, if several blocks of the page start alike. */
  readonly line?: string;
  /** The content of `/etc/config/ip-masq-agent`. */
  readonly config?: string;
  /** Files in the working directory. */
  readonly files?: Readonly<Record<string, string>>;
  /** Files that are other blocks of the page, by the first line of the block. */
  readonly blocks?: Readonly<Record<string, string>>;
  /** Rules of other programs in table `nat`, for iptables-restore. */
  readonly foreign?: string;
  /** Flags of an agent that runs, or true without flags. */
  readonly agent?: true | readonly string[];
  /** Commands that run before those of the block, when the agent's rules are in force. */
  readonly before?: readonly string[];
  /** Exit codes other than 0, by command. */
  readonly exits?: Readonly<Record<string, number>>;
  /** For a block without a command: the command that prints it, among other lines. */
  readonly printedBy?: string;
  /** Owners of the addresses that servers see afterwards. */
  readonly seen?: readonly { readonly from: string; readonly to: string; readonly owner: Owner }[];
  /** A command that stays until it is ended. */
  readonly stays?: string;
  /** A Debian release whose nft the commands of the block find; trixie by default. */
  readonly nft?: string;
  /** Whether the lines of the output have any order. */
  readonly anyOrder?: true;
  /** Whether numbers are counts of the node, which differ from the page's. */
  readonly counts?: true;
}

const KEEP = "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n";
const PARTNER = `${KEEP}  - 203.0.113.0/24\n`;

const KUBE_PROXY = `
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully`;
const FLANNEL = `
-A POSTROUTING -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully`;
const TAILSCALE = `
-A POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE`;
const OLD_AGENT = `
-A POSTROUTING -m comment --comment "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ
-A IP-MASQ -j MASQUERADE`;
const EXEMPTION = "\n-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT";

/** A config whose change the README shows. */
const reviewed = (cidr: string) =>
  `nonMasqueradeCIDRs: [10.0.0.0/8, ${cidr}]\nsourceCIDRs: [10.244.0.0/16]\noutputInterfaces: [eth0, wg*]\n`;
const REVIEWED = { "old.yaml": reviewed("192.0.2.0/24"), "new.yaml": reviewed("198.18.0.0/15") };

const TEST_CONFIG =
  "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nmasqueradeCIDRs:\n  - 10.99.0.0/16\nsourceCIDRs:\n  - 10.244.0.0/16\n";

const TESTS = "config: ../config.yaml\ntests:\n  - destination: 10.20.30.40\n    verdict: keep\n";

const CONFIG = "/etc/config/ip-masq-agent";
const NEW = "/etc/config/.new";
const ROUTER_BUILD = "npm run build";
const ROUTER_CONFIG = "nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]";
/** Only connections of the LAN to the uplink are masqueraded; in the lab this is eth1 too. */
const ROUTER_SEEN = [
  { from: "192.168.1.2", to: "203.0.113.7", owner: "node" },
  { from: "192.168.1.2", to: "10.1.2.3", owner: "pod" },
  { from: "10.244.1.2", to: "203.0.113.7", owner: "pod" },
] as const;

/** The SHA-256 of an empty file. */
const EMPTY_SUM = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Connections from before the policy of {@link PARTNER}. */
const STALE = [
  entry("tcp", "10.244.1.2", 43210, "203.0.113.7", 5432, "198.51.100.2", 1061),
  entry("tcp", "10.244.3.9", 51022, "203.0.113.7", 5432, "198.51.100.2", 40118, "10.96.12.1"),
  entry("udp", "10.244.1.2", 40001, "203.0.113.7", 514, "198.51.100.2", 11071),
];
/** A connection to the node, and one of a Pod to itself through a Service. */
const EXEMPT = [
  entry("tcp", "10.244.1.2", 43211, "10.0.0.2", 10250, "10.244.1.2", 43211),
  entry("tcp", "10.244.1.2", 43212, "10.244.1.2", 8080, "10.244.1.1", 43212, "10.96.12.2"),
];
const PORTS = [
  entry("tcp", "10.244.1.2", 43210, "203.0.113.80", 443, "198.51.100.2", 1061),
  entry("tcp", "10.244.1.2", 43211, "203.0.113.80", 443, "198.51.100.2", 1062),
  entry("udp", "10.244.1.2", 40001, "192.0.2.53", 53, "198.51.100.2", 11071),
];

/** Blocks that cannot be run here, and where their texts are tested instead. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  "docs/troubleshooting.md: iptables-nft writes the rules because nft fails: nft -j list table ip ip-masq-agent: crashed (SIGSEGV); install nft 1.1.3 or later":
    "an nft that crashes later: test/kernel/failover.test.ts",
  "docs/verify.md: NOT PROVEN": "needs ipset: test/docs.test.ts",
};

export const SCENES: readonly Scene[] = [
  {
    page: "docs/config.md",
    block:
      'ip-masq-agent:3:5: nonMasqueradeCIDRs[1]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?',
    files: { "ip-masq-agent": `${KEEP}  - 10.0.0.1/8\n` },
    printedBy: "ipmasq check --config=ip-masq-agent",
    exits: { "ipmasq check --config=ip-masq-agent": 1 },
  },
  ...["README.md", "docs/commands.md"].map(page => ({
    page,
    block: "ipmasq explain 10.244.1.2 10.1.2.3",
    config: `${KEEP}  - 10.1.0.0/16\n`,
  })),
  {
    page: "README.md",
    block: ROUTER_BUILD,
    blocks: { "config.yaml": ROUTER_CONFIG },
    seen: ROUTER_SEEN,
  },
  {
    page: "docs/router.md",
    block: "ipmasq check --config=/etc/config/ip-masq-agent",
    blocks: { [CONFIG]: "nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16]" },
    before: ["ipmasq run --once"],
    seen: ROUTER_SEEN,
  },
  {
    page: "docs/router.md",
    block: "ipmasq explain --out=eth1 192.168.1.2 203.0.113.7",
    blocks: { [CONFIG]: "nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16]" },
  },
  { page: "docs/router.md", block: "cp /etc/config/ip-masq-agent new.yaml", config: KEEP },
  {
    page: "docs/commands.md",
    block: "ipmasq status",
    config: KEEP,
    agent: ["--node-name=node-1"],
    // The counts are known when the agent has listed its rules.
    before: ["until ipmasq status | grep -q 'keep  *0  *0  default'; do :; done"],
    counts: true,
  },
  { page: "docs/commands.md", block: "ipmasq verify", agent: true },
  {
    page: "docs/commands.md",
    block: "ipmasq diff --from=old.yaml --to=new.yaml",
    files: REVIEWED,
    exits: { "ipmasq diff --from=old.yaml --to=new.yaml": 1 },
  },
  { page: "docs/rules.md", block: "nft list table ip ip-masq-agent", agent: true },
  { page: "docs/rules.md", block: "iptables -t nat -L IP-MASQ-AGENT", agent: ["--backend=iptables"] },
  {
    page: "docs/check.md",
    block: "ipmasq check --config=config.yaml",
    files: { "config.yaml": `${KEEP}  - 10.0.0.1/8\nmasqLinkLocal: false\nresyncIntervall: 5s\n` },
    exits: { "ipmasq check --config=config.yaml": 1 },
  },
  {
    page: "docs/connections.md",
    block: "ipmasq connections",
    config: PARTNER,
    agent: true,
    before: [...STALE, ...EXEMPT],
    counts: true,
  },
  {
    page: "docs/connections.md",
    block: "ipmasq connections --stale",
    config: PARTNER,
    agent: true,
    before: STALE,
    anyOrder: true,
  },
  {
    page: "docs/connections.md",
    block: "ipmasq connections --forget-stale --dry-run",
    config: PARTNER,
    agent: true,
    before: STALE,
  },
  {
    page: "docs/connections.md",
    block: "ipmasq diff --from=old.yaml --to=new.yaml --live",
    files: REVIEWED,
    exits: { "ipmasq diff --from=old.yaml --to=new.yaml --live": 1 },
  },
  {
    page: "docs/connections.md",
    block: "ipmasq connections --ports",
    agent: true,
    before: PORTS,
    counts: true,
  },
  {
    page: "docs/enforce.md",
    block: "conflicts",
    config: `${KEEP}sourceCIDRs:\n  - 10.42.0.0/16\n`,
    foreign: FLANNEL.replaceAll("10.244.", "10.42."),
    agent: true,
    printedBy: "ipmasq status",
    exits: { "ipmasq status": 3 },
  },
  {
    page: "docs/enforce.md",
    block: "ipmasq explain 10.42.1.2 10.100.7.8",
    config: `${KEEP}sourceCIDRs:\n  - 10.42.0.0/16\nenforceNonMasquerade: true\n`,
  },
  {
    page: "docs/install.md",
    block: "sudo ipmasq run --once --config=config.yaml    # write the rules and exit",
    files: { "config.yaml": KEEP },
    stays: "sudo ipmasq run --config=config.yaml",
  },
  {
    page: "docs/install.md",
    block: "kubectl apply -k .",
    blocks: { "kustomization.yaml": "# kustomization.yaml" },
  },
  {
    page: "README.md",
    block: "kubectl apply -f deploy/kubernetes/ip-masq-agent.yaml",
    files: { config: KEEP },
  },
  {
    page: "docs/install.md",
    block: "kubectl create configmap ip-masq-agent --from-file=config --namespace=kube-system",
    files: { config: KEEP },
  },
  {
    page: "docs/install.md",
    block: "kubectl -n kube-system get pods -l k8s-app=ip-masq-agent",
    agent: true,
  },
  {
    page: "docs/install.md",
    block: "cp ip-masq-agent /etc/config/.new && mv /etc/config/.new /etc/config/ip-masq-agent",
    config: KEEP,
    files: { "ip-masq-agent": PARTNER },
  },
  {
    page: "docs/metrics.md",
    block: "curl http://127.0.0.1:9469/metrics",
    agent: true,
    before: ["curl --retry 9 --retry-connrefused http://127.0.0.1:9469/"],
  },
  {
    page: "docs/binaries.md",
    block: "sha256sum --check --ignore-missing SHA256SUMS",
    files: {
      SHA256SUMS: `${EMPTY_SUM}  ipmasq-linux-x64\n${EMPTY_SUM}  ipmasq-linux-arm64\n`,
      "ipmasq-linux-x64": "",
    },
  },
  {
    page: "docs/test.md",
    block: "ipmasq test tests.yaml",
    files: { "config.yaml": TEST_CONFIG },
    blocks: { "tests.yaml": "config: config.yaml" },
    exits: { "ipmasq test tests.yaml": 1 },
  },
  {
    page: "docs/test.md",
    block: "ipmasq test --output=junit tests/*.yaml > report.xml",
    files: { "config.yaml": TEST_CONFIG, "tests/a.yaml": TESTS },
  },
  {
    page: "docs/test.md",
    block: "ipmasq test --live ip-masq-agent.test.yaml",
    files: { "config.yaml": TEST_CONFIG, "ip-masq-agent.test.yaml": TESTS.replace("../", "") },
    agent: true,
  },
  {
    page: "docs/test.md",
    block: "ipmasq test typos.yaml",
    files: {
      "config.yaml": TEST_CONFIG,
      "typos.yaml":
        "config: config.yaml\ntests:\n  - destination: 10.99.0.1\n    verdict: keeps\n  - adress: 10.20.30.40\n    verdict: keep\n",
    },
    exits: { "ipmasq test typos.yaml": 2 },
  },
  {
    page: "docs/troubleshooting.md",
    block: "ipmasq explain 10.244.1.2 203.0.113.7",
    config: PARTNER,
  },
  {
    page: "docs/troubleshooting.md",
    block: "ipmasq explain --live 10.244.1.2 203.0.113.7",
  },
  {
    page: "docs/troubleshooting.md",
    block: "ipmasq explain --live 10.244.1.2 10.1.2.3",
    foreign: FLANNEL,
    agent: true,
  },
  {
    page: "docs/troubleshooting.md",
    block: "conflicts",
    line: "harmless NAT rules: kube-proxy or kubelet, tailscale (only packets with mark 0x40000/0xff0000)",
    config: KEEP,
    foreign: `${KUBE_PROXY}${FLANNEL}${TAILSCALE}`,
    agent: true,
    printedBy: "ipmasq status",
    exits: { "ipmasq status": 3 },
  },
  {
    page: "docs/troubleshooting.md",
    block: "conflicts",
    line: "    exempts connections to 198.51.100.0/24 from NAT, but ipmasq masquerades them",
    foreign: EXEMPTION,
    agent: ["--backend=nftables"],
    printedBy: "ipmasq status",
    exits: { "ipmasq status": 3 },
  },
  {
    page: "docs/troubleshooting.md",
    block: "ipmasq status",
    line: "the config is rejected; the last good policy stays active",
    config: KEEP,
    agent: true,
    before: [
      `cp ${CONFIG} ${NEW} && echo '  - 10.0.0.1/8' >>${NEW} && mv ${NEW} ${CONFIG}`,
      "until ipmasq status | grep -q rejected; do :; done",
    ],
  },
  {
    page: "docs/troubleshooting.md",
    block: "ipmasq diff",
    before: ["ipmasq run --once", "nft flush chain ip ip-masq-agent IP-MASQ-AGENT"],
    exits: { "ipmasq diff": 1 },
  },
  {
    page: "docs/troubleshooting.md",
    block: "nft --version",
    before: ["nft add table ip kube-proxy", "nft add set ip kube-proxy service-ips '{ type ipv4_addr; }'"],
    nft: "bullseye",
    exits: { "nft list tables": 139 },
  },
  {
    page: "docs/upgrade.md",
    block: "kubectl -n kube-system get configmap ip-masq-agent -o yaml >config.yaml",
    files: { "config.yaml": KEEP },
  },
  {
    page: "docs/troubleshooting.md",
    block: "ipmasq status",
    line: "another ip-masq-agent masquerades by its own config; remove that agent, then start or restart ipmasq, which removes its rules; or set enforceNonMasquerade: true",
    config: PARTNER,
    foreign: OLD_AGENT,
    agent: true,
    exits: { "ipmasq status": 3 },
  },
  {
    page: "docs/troubleshooting.md",
    block: "iptables -t nat -L IP-MASQ-AGENT",
    agent: true,
    exits: { "iptables -t nat -L IP-MASQ-AGENT": 1 },
  },
  {
    page: "docs/troubleshooting.md",
    block: "nft list set ip ip-masq-agent non-masquerade-a",
    config: KEEP,
    agent: true,
  },
  {
    page: "docs/verify.md",
    block: "ipmasq verify",
    line: "proven for all 4,294,967,296 IPv4 destinations (40 pieces): 0 differ",
    config: KEEP,
    foreign: KUBE_PROXY,
    agent: true,
  },
  {
    page: "docs/verify.md",
    block: "ipmasq verify",
    line: "    from      10.244.0.0/16",
    config: KEEP,
    foreign: `${KUBE_PROXY}${FLANNEL}`,
    agent: true,
    exits: { "ipmasq verify": 1 },
  },
];

/** The command that adds a connection to the conntrack table, and the address and port that its server answers to. */
function entry(
  protocol: "tcp" | "udp",
  source: string,
  port: number,
  server: string,
  serverPort: number,
  seenFrom: string,
  seenPort: number,
  service = server,
): string {
  const original = `-s ${source} -d ${service} --sport ${port} --dport ${serverPort}`;
  const reply = `-r ${server} -q ${seenFrom} --reply-port-src ${serverPort} --reply-port-dst ${seenPort}`;
  const state = protocol === "tcp" ? " --state ESTABLISHED" : "";
  return `conntrack -I -p ${protocol}${state} ${original} ${reply} -t 600`;
}
