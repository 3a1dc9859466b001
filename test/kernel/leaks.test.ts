import { afterEach, beforeEach, expect, test } from "bun:test";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { save } from "../../lab/save.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { freshFolder, labPerTest } from "../lab.ts";
import { policy } from "../policies.ts";
import { ROUNDS } from "../rounds.ts";
import { CrashingNft } from "./crashing-nft.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/leaks/ip-masq-agent";

/** Destinations outside whose verdict changes between the policies, or that are always masqueraded. */
const ALWAYS = ["203.0.113.7", "2001:db8:7::7"];
const SOMETIMES = ["192.0.2.9", "2001:db8:9::9"];

/** Policies that differ in almost all CIDRs. */
const LISTS = [
  "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24, 'fc00::/7', '2001:db8:9::/48']\nmasqueradeCIDRs: [10.99.0.0/16]\n",
  "nonMasqueradeCIDRs: [10.1.0.0/16, 172.16.0.0/12, 'fd00::/8']\n",
];

const CHANGES = 3 * ROUNDS;

/** The backends that the agent starts with, in turn. */
const BACKENDS: readonly [string[]][] = [
  [["iptables", "nftables"]],
  ...(ROUNDS > 1 ? [[["nftables"]] satisfies [string[]], [["iptables"]] satisfies [string[]]] : []),
];

const lab = labPerTest();
let agent: RunningAgent | undefined;

beforeEach(() => freshFolder("/run/leaks", { "ip-masq-agent": "" }));
afterEach(async () => {
  await agent?.end("SIGKILL");
  agent = undefined;
});

/** Counts packets that arrive outside with an address of the Pod. */
async function countLeaks(): Promise<void> {
  const rules = [
    ...ALWAYS.map(to => `${familyOf(to)} saddr @pods ${familyOf(to)} daddr ${to} counter name leaked`),
  ];
  const table = (family: string, pods: string) => `
    table ${family} leaks {
      counter leaked { }
      set pods { type ${family === "ip" ? "ipv4_addr" : "ipv6_addr"}; flags interval; elements = { ${pods} } }
      chain c {
        type filter hook prerouting priority raw;
        ${rules.filter(rule => rule.startsWith(`${family} `)).join("\n")}
      }
    }`;
  await lab.outside.output(["nft", "-f", "-"], {
    input: `${table("ip", "10.244.0.0/16")}${table("ip6", "fd00:10:244::/48")}`,
  });
}

function familyOf(address: string): string {
  return address.includes(":") ? "ip6" : "ip";
}

async function leaked(): Promise<number> {
  const text = await lab.outside.output(["nft", "list", "counters"]);
  return Array.from(text.matchAll(/packets (\d+)/g), ([, packets]) => Number(packets)).reduce(
    (a, b) => a + b,
  );
}

/** Starts long-lived TCP connections from the Pod, which send all the time, and reconnect when they end. */
async function traffic(): Promise<void> {
  const server = lab.outside.spawn([process.execPath, "-e", SERVER]);
  await new Lines(server.stdout).until("listening");
  const client = lab.pod.spawn([process.execPath, "-e", CLIENT, ...ALWAYS, ...SOMETIMES]);
  await new Lines(client.stdout).until("connected");
}

const SERVER = `
  require("node:net").createServer(socket => socket.on("data", () => socket.write("x")).on("error", () => {}))
    .listen(9001, "::", () => console.log("listening"))`;
const CLIENT = `
  const { connect } = require("node:net");
  const { writeFileSync } = require("node:fs");
  let connected = 0;
  const start = host => {
    const socket = connect({ host, port: 9001 });
    const timer = setInterval(() => socket.write("x"), 5);
    const life = setTimeout(() => socket.destroy(), 300 + 700 * Math.random());
    socket.on("connect", () => ++connected === 8 && console.log("connected"));
    socket.on("data", () => {}).on("error", () => {});
    socket.on("close", () => {
      clearInterval(timer);
      clearTimeout(life);
      setTimeout(start, 20, host);
    });
  };
  for (const host of process.argv.slice(-4)) for (let i = 0; i < 3; i++) start(host);`;

const ASK = `
  const socket = require("node:net").connect({ host: process.argv.at(-1), port: 9001 });
  socket.on("connect", () => socket.write("x")).on("data", text => { process.stdout.write(text); socket.destroy(); });
  setTimeout(() => process.exit(1), 2000).unref()`;

async function start(backend = "nftables"): Promise<RunningAgent> {
  const started = RunningAgent.start(lab.node, [`--config=${CONFIG}`, `--backend=${backend}`]);
  await started.log.until("policy in force");
  return started;
}

/** Changes the policy, forgets all connections, and restarts the agent, again and again. */
async function disturb(
  changes: number,
  config: (list: string) => string,
  backends: readonly string[] = ["nftables"],
): Promise<void> {
  for (let i = 0; i < changes; i++) {
    await save(CONFIG, config(LISTS[i % LISTS.length] ?? ""));
    await agent?.log.until("policy in force");
    await lab.node.run(["conntrack", "-F"]);
    await Bun.sleep(30);
    if (i % 3 !== 2) continue;
    await agent?.end();
    agent = await start(backends[(i + 1) % backends.length]);
  }
}

const BASE = "sourceCIDRs: [10.244.0.0/16, 'fd00:10:244::/48']\nenableIPv6: true\n";

test.each(BACKENDS)(
  `${CHANGES} changes, restarts and losses of all connections leak nothing with dropLeaks, by %j`,
  async backends => {
    const config = (list: string) => `${BASE}dropLeaks: true\n${list}`;
    await save(CONFIG, config(LISTS[1] ?? ""));
    agent = await start(backends[0]);
    await countLeaks();
    await traffic();
    await disturb(CHANGES, config, backends);
    expect(await leaked()).toBe(0);
    const counted = await lab.node.output(["nft", "list", "counter", "ip", "ip-masq-agent", "leaks"]);
    expect(Number(/packets (\d+)/.exec(counted)?.[1])).toBeGreaterThan(0);
    // Connections from outside to the Pod are not translated, and their answers are not leaks.
    const server = lab.pod.spawn([process.execPath, "-e", SERVER]);
    await new Lines(server.stdout).until("listening");
    for (const host of ["10.244.1.2", "fd00:10:244:1::2"])
      expect(await lab.outside.output([process.execPath, "-e", ASK, host])).toBe("x");
    for (const to of ALWAYS) expect(await lab.ownerSeen({ protocol: "tcp", to })).toBe("node");
    for (const to of ["10.1.2.3", "fd00:7::7"])
      for (const protocol of ["tcp", "udp", "icmp"] as const)
        expect(await lab.ownerSeen({ protocol, to }), `${protocol} ${to}`).toBe("pod");
    await save(CONFIG, BASE);
    await agent.log.until("policy in force");
    const left = await lab.node.output(["nft", "list", "ruleset"]);
    expect(left).not.toContain("chain leaks");
    expect(left.includes("table ip ip-masq-agent")).toBe(
      backends.at((CHANGES / 3) % backends.length) === "nftables",
    );
  },
  20_000 + 10_000 * ROUNDS,
);

test(
  "control: the same without dropLeaks leaks packets",
  async () => {
    await save(CONFIG, `${BASE}${LISTS[1]}`);
    agent = await start();
    await countLeaks();
    await traffic();
    await disturb(3, list => `${BASE}${list}`);
    expect(await leaked()).toBeGreaterThan(0);
  },
  20_000 + 10_000 * ROUNDS,
);

test("beside iptables, the table that drops leaks is repaired at once, and delays nothing", async () => {
  await save(CONFIG, `${BASE}dropLeaks: true\n`);
  const nft = await CrashingNft.create();
  const flags = [`--config=${CONFIG}`, "--backend=iptables"];
  agent = RunningAgent.start(lab.node, flags, [...nft.environment, BINARY]);
  await agent.log.until("policy in force");
  const drops = async (family: string) =>
    (await lab.node.run(["nft", "list", "chain", family, "ip-masq-agent", "leaks"])).stdout.includes(" drop");
  for (const [family, change] of [
    ["ip", "delete table ip ip-masq-agent"],
    ["ip6", "flush chain ip6 ip-masq-agent leaks"],
  ] as const) {
    await lab.node.output(["nft", change]);
    for (let tries = 0; !(await drops(family)); tries++) {
      expect([change, tries]).not.toEqual([change, 200]); // the next resync is in a minute
      await Bun.sleep(20);
    }
  }
  // Another config would remove it. They decide nothing, so that there is no other backend to compare with.
  await save("/run/leaks/other", BASE);
  const diff = (...more: string[]) => lab.node.run([BINARY, "diff", "--backend=iptables", ...more]);
  expect((await diff()).exitCode).toBe(0);
  const other = await diff("--config=/run/leaks/other");
  expect([other.exitCode, other.stderr]).toEqual([1, expect.not.stringContaining("also in force")]);
  expect(other.stdout.split("\n").filter(it => /^-.*chain/.test(it))).toEqual([
    "-\tchain leaks {",
    "-\tchain leaks {",
  ]);

  await nft.become("hang");
  await lab.node.output(["iptables", "-t", "nat", "-F", "IP-MASQ-AGENT"]);
  await agent.log.until("dropLeaks has no effect");
  expect(await lab.ownerSeen({ protocol: "tcp", to: "203.0.113.7" })).toBe("node");
}, 60_000);

test("packets do not count as connections", async () => {
  const backend = new NftablesBackend(lab.node.command(["nft"]));
  const meant = policy({
    keep: ["10.0.0.0/8", "203.0.113.0/24"],
    masquerade: ["203.0.113.7/32"],
    sources: ["10.244.0.0/16"],
    spared: ["10.244.9.0/24"],
    interfaces: ["eth*"],
    dropLeaks: true,
  });
  await sync(backend, meant);
  for (const to of ["10.1.2.3", "203.0.113.8", "203.0.113.7", "198.18.7.7"])
    for (const protocol of ["tcp", "udp"] as const) await lab.connect({ protocol, to });
  const { counters } = await backend.plan(meant);
  expect(counters.map(it => `${it.verdict} ${it.cidr ?? ""} ${it.connections}`).sort()).toEqual([
    "drop  0",
    "keep 10.0.0.0/8 2",
    "keep 169.254.0.0/16 0",
    "keep 203.0.113.0/24 2",
    "masquerade  2",
    "masquerade 203.0.113.7/32 2",
  ]);
});
