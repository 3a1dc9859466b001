import { afterAll, afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { RunningAgent } from "../../../lab/agent.ts";
import { Lab } from "../../../lab/lab.ts";
import type { Tally } from "../../../lab/load.ts";
import { WRITERS } from "../../../lab/writers.ts";
import { others } from "../../kernel/others.ts";
import { keepResults, keptResults } from "../compatibility.ts";
import { kubeProxyIptables, kubeProxyNft } from "./kube-proxy.ts";
import type { Neighbour, Start } from "./neighbour.ts";
import { cniPlugins, firewalld, ipMasqAgent, masquerader, secondAgent } from "./programs.ts";

/** How long each neighbour is at work. Results are kept of whole runs only. */
const WHOLE_SECONDS = 120;
const SECONDS = Number(process.env.NEIGHBOUR_SECONDS ?? WHOLE_SECONDS);
/** The agent looks for rules of others once a minute. */
const LOOK_SECONDS = 65;
/** New connections a second. */
const RATE = 2000;

/** In the empty /run of lab/isolate. */
const FOLDER = "/run/neighbours";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const OTHER = `${FOLDER}/other`;

/** Each keeps the first of DESTINATIONS and the third, and no other one. */
const CONFIGS = [
  "nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16, fd00::/8]\n",
  "nonMasqueradeCIDRs: [10.0.0.0/12, 10.96.0.0/12, 192.168.0.0/16, 198.18.0.0/15, fd00:1::/32]\n",
] as const;
const DESTINATIONS = ["10.1.2.3", "203.0.113.7", "fd00:1::7", "2001:db8:1::7"] as const;
const SAME_CIDRS = ["10.0.0.0/8", "192.168.0.0/16"];
const OTHER_CIDRS = ["10.0.0.0/8"];

interface Case {
  readonly neighbour: string;
  readonly start: Start;
  /** Names of WRITERS: what ours writes with. */
  readonly beside: readonly string[];
  /** Whether our config stays as it is. */
  readonly still?: true;
  /** What our agent's log has to say in the end. */
  readonly says?: string;
  /** How often ours may repair its rules at most; any number if left out. */
  readonly repairs?: number;
  /** It takes everybody's rules away, and until ours are there again nothing is masqueraded. */
  readonly flushes?: true;
  /** What became of its rules, where it is not meant to keep them. */
  readonly harm?: string;
  /** It is there to be seen to do harm. */
  readonly control?: true;
}

const flags = ["--enable-ipv6"];
const CASES: readonly Case[] = [
  {
    neighbour: "kube-proxy, nftables",
    start: kubeProxyNft,
    beside: ["nftables", "iptables-nft"],
    repairs: 0,
  },
  {
    neighbour: "kube-proxy, iptables-nft",
    start: kubeProxyIptables("iptables-nft"),
    beside: ["nftables", "iptables-nft"],
    repairs: 0,
  },
  {
    neighbour: "kube-proxy, iptables-legacy",
    start: kubeProxyIptables("iptables-legacy"),
    beside: ["iptables-legacy"],
    repairs: 0,
  },
  {
    neighbour: "firewalld with nftables, reloads",
    start: firewalld("nftables"),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "firewalld with nftables, reloads",
    start: firewalld("nftables"),
    beside: ["iptables-nft"],
    flushes: true,
  },
  {
    neighbour: "firewalld with iptables, reloads",
    start: firewalld("iptables"),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "CNI plugins bridge and portmap",
    start: cniPlugins,
    beside: ["nftables", "iptables-nft"],
    repairs: 0,
  },
  {
    neighbour: "a second ipmasq with the same config",
    start: secondAgent([`--config=${CONFIG}`, ...flags]),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "a second ipmasq with another config and backend",
    start: secondAgent([`--config=${OTHER}`, "--backend=iptables"]),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "ip-masq-agent with the same CIDRs",
    start: ipMasqAgent("iptables-nft", SAME_CIDRS),
    beside: ["iptables-nft"],
    still: true,
    repairs: 1,
  },
  {
    neighbour: "ip-masq-agent with fewer CIDRs",
    start: ipMasqAgent("iptables-nft", OTHER_CIDRS),
    beside: ["nftables"],
    still: true,
    says: 'owner="another ip-masq-agent"',
    repairs: 0,
  },
  {
    neighbour: "ip-masq-agent with fewer CIDRs",
    start: ipMasqAgent("iptables-nft", OTHER_CIDRS),
    beside: ["iptables-nft"],
    still: true,
    says: "another ip-masq-agent is at work; remove it",
    harm: "its chain is ours",
  },
  {
    neighbour: "control: masquerades a kept address",
    start: masquerader,
    beside: ["nftables"],
    control: true,
  },
];

const rows: (readonly string[])[] = [];
let lab: Lab;
beforeEach(async () => {
  lab = await Lab.create();
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER);
  await writeFile(OTHER, "nonMasqueradeCIDRs: [203.0.113.0/24]\n");
  await save(CONFIGS[0]);
});
afterEach(() => lab.close());

const cells = CASES.flatMap(({ beside, ...it }) => beside.map(writer => ({ ...it, writer })));
test.each(cells)(
  "$neighbour beside $writer",
  async ({ neighbour, start, writer, still, says = "", repairs, flushes, harm = "none", control }) => {
    const ours = WRITERS.find(({ name }) => name === writer);
    if (!ours) throw new Error(`no writer ${writer}`);
    await ours.prepare(lab);
    const agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`, ...flags, ...ours.flags]);
    const them = await start(lab);
    const before = await others(lab);
    const load = await lab.load({ destinations: DESTINATIONS, flowsPerSecond: RATE, seconds: SECONDS + 60 });
    const [writes, changes] = await Promise.all([theirWork(them), still ? 0 : ourChanges()]);
    await them.settle();
    const [tallies, after] = [await load.stop(), await others(lab)];
    const seen = await Promise.all(them.effects.map(async ([to]) => [to, await ownerOf(to)]));
    await agent.end();
    const log = await agent.log.all();
    const text = log.join("\n");

    const repaired = log.filter(line => line.includes("repaired")).length;
    const harmed = !Bun.deepEquals(after, before) || !Bun.deepEquals(seen, [...them.effects]);
    const sum = (count: (tally: Tally, i: number) => number) =>
      tallies.reduce((n, it, i) => n + count(it, i), 0);
    const wrong = sum(({ fromNode, other }, i) => other + (isKept(i) ? fromNode : 0));
    const missed = sum(({ fromPod }, i) => (isKept(i) ? 0 : fromPod));
    rows.push([
      neighbour,
      writer,
      ...[writes, changes, sum(({ sent }) => sent)].map(String),
      flushes && missed > 0 ? `${wrong}, and ${missed} while flushed` : `${wrong + missed}`,
      `${repaired}`,
      harmed ? "**some**" : harm,
      new Date().toISOString().slice(0, 10),
    ]);
    process.stderr.write(`${rows.at(-1)?.join(" | ")}\n`);

    if (control) {
      expect(wrong).toBeGreaterThan(0);
      return;
    }
    expect(wrong, text).toBe(0);
    if (!flushes) expect(missed, text).toBe(0);
    expect(after).toEqual(before);
    expect<unknown>(seen).toEqual(them.effects.map(it => [...it]));
    if (SECONDS > LOOK_SECONDS) expect(text).toContain(says);
    if (repairs !== undefined) expect(repaired, text).toBeLessThanOrEqual(repairs);
  },
  1000 * SECONDS + 60_000,
);

/** Rows of cases that were not run this time are those that were kept before. */
afterAll(async () => {
  if (SECONDS !== WHOLE_SECONDS) return;
  const known = [...rows, ...((await keptResults("neighbours"))[0]?.rows ?? [])];
  const all = cells.flatMap(({ neighbour, writer }) =>
    known.filter(([name, ours]) => name === neighbour && ours === writer).slice(0, 1),
  );
  const columns = [
    ...["neighbour", "ours", "its writes", "our changes", "connections"],
    ...["wrong verdicts", "repairs", "harm to it", "date"],
  ];
  const how = `Each is at work for ${SECONDS} seconds beside our agent, whose config is saved again and again, while ${RATE} new connections a second go through the node, of IPv4 and IPv6, to addresses that keep and that are masqueraded. Harm: rules of its own that are not there in the end, or without effect. firewalld takes all rules of iptables away when it reloads; until ours are there again nothing is masqueraded. What takes ip-masq-agent a minute takes it a second here.`;
  await keepResults("neighbours", [{ title: "At work at the same time", how, columns, rows: all, raw: all }]);
});

/** Has the neighbour work until the time is up, and returns how often it did. */
async function theirWork({ work, every }: Neighbour): Promise<number> {
  const end = performance.now() + 1000 * SECONDS;
  for (let n = 0; ; n++) {
    const began = performance.now();
    if (began > end) return n;
    await work(n);
    await Bun.sleep(Math.max(began + every - performance.now(), 0));
  }
}

/** Saves configs until the time is up, and returns how many. */
async function ourChanges(): Promise<number> {
  const end = performance.now() + 1000 * SECONDS;
  for (let n = 1; ; n++) {
    if (performance.now() > end) return n - 1;
    await save(CONFIGS[n % 2 === 0 ? 0 : 1]);
    await Bun.sleep(700); // beside a neighbour that works once a second, at ever another time
  }
}

/** Whether the destination of that place keeps the Pod's address. */
function isKept(place: number): boolean {
  return place % 2 === 0;
}

async function ownerOf(to: string): Promise<string> {
  return lab.owner((await lab.connect({ protocol: "udp", to })).source);
}

async function save(config: string): Promise<void> {
  await writeFile(`${CONFIG}.new`, config);
  await rename(`${CONFIG}.new`, CONFIG);
}
