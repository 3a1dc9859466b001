import { afterAll, beforeEach, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { RunningAgent } from "../../../lab/agent.ts";
import type { Tally } from "../../../lab/load.ts";
import { save } from "../../../lab/save.ts";
import { WRITERS } from "../../../lab/writers.ts";
import { foreignChains } from "../../kernel/foreign-chains.ts";
import { freshFolder, labPerTest } from "../../lab.ts";
import { keepResults, keptResults } from "../compatibility.ts";
import { CASES, CONFIG, FLAGS, FOLDER, OTHER_CONFIG } from "./cases.ts";
import type { Neighbour } from "./neighbour.ts";

/** How long each neighbour works, in seconds. Only results of full runs are stored. */
const WHOLE_SECONDS = 120;
const SECONDS = Number(process.env.NEIGHBOUR_SECONDS ?? WHOLE_SECONDS);
/** The agent's interval between searches for conflicts, in seconds. */
const LOOK_SECONDS = 65;
/** New connections per second. */
const RATE = 2000;

/** Configs. Each keeps the first and the third of DESTINATIONS and masquerades the others. */
const CONFIGS = [
  "nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16, fd00::/8]\n",
  "nonMasqueradeCIDRs: [10.0.0.0/12, 10.96.0.0/12, 192.168.0.0/16, 198.18.0.0/15, fd00:1::/32]\n",
] as const;
const DESTINATIONS = ["10.1.2.3", "203.0.113.7", "fd00:1::7", "2001:db8:1::7"] as const;

const rows: (readonly string[])[] = [];
const lab = labPerTest();
beforeEach(async () => {
  await freshFolder(FOLDER);
  await writeFile(OTHER_CONFIG, "nonMasqueradeCIDRs: [203.0.113.0/24]\n");
  await save(CONFIG, CONFIGS[0]);
});

const cells = CASES.flatMap(({ beside, ...it }) => beside.map(writer => ({ ...it, writer })));
test.each(cells)(
  "$neighbour beside $writer",
  async ({
    neighbour,
    start,
    writer,
    still,
    says = "",
    repairs,
    flushes,
    harm = "none",
    enforce,
    control,
  }) => {
    const ours = WRITERS.find(({ name }) => name === writer);
    if (!ours) throw new Error(`no writer ${writer}`);
    await ours.prepare(lab);
    const configs = CONFIGS.map(it => it + (enforce ? "enforceNonMasquerade: true\n" : ""));
    await save(CONFIG, configs[0] ?? "");
    const agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`, ...FLAGS, ...ours.flags]);
    const them = await start(lab);
    const before = await foreignChains(lab);
    const load = await lab.load({ destinations: DESTINATIONS, flowsPerSecond: RATE, seconds: SECONDS + 60 });
    const [writes, changes] = await Promise.all([theirWork(them), still ? 0 : ourChanges(configs)]);
    await them.settle();
    const [tallies, after] = [await load.stop(), await foreignChains(lab)];
    const seen = await Promise.all(them.effects.map(async ([to]) => [to, await ownerOf(to)]));
    const keeps = them.kept === undefined || (await isTrueSoon(them.kept));
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
      flushes && missed > 0 ? `${wrong}; ${missed} while flushed` : `${wrong + missed}`,
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
    expect(keeps, text).toBe(true);
    expect(sum(({ lost }) => lost)).toBeLessThan(0.05 * sum(({ sent }) => sent));
    if (!flushes) expect(missed, text).toBe(0);
    expect(after).toEqual(before);
    expect<unknown>(seen).toEqual(them.effects.map(it => [...it]));
    if (SECONDS > LOOK_SECONDS) expect(text).toContain(says);
    if (repairs !== undefined) expect(repaired, text).toBeLessThanOrEqual(repairs);
  },
  1000 * SECONDS + 60_000,
);

/** Stores the results. Cases that did not run keep their previous row. */
afterAll(async () => {
  if (SECONDS !== WHOLE_SECONDS) return;
  const known = [...rows, ...((await keptResults("neighbours"))[0]?.rows ?? [])];
  const all = cells.flatMap(({ neighbour, writer }) =>
    known.filter(([name, ours]) => name === neighbour && ours === writer).slice(0, 1),
  );
  const columns = [
    ...["program", "ipmasq writes with", "its writes", "config changes", "connections"],
    ...["wrong verdicts", "repairs", "harm to the program", "date"],
  ];
  const how = `Each program works for ${SECONDS} seconds beside the agent, whose config is saved repeatedly (except beside ip-masq-agent), while ${RATE} new IPv4 and IPv6 connections/s pass the node, to kept and to masqueraded addresses. Harm means rules of the program that are missing or without effect in the end. firewalld deletes all iptables rules when it reloads; until ipmasq repairs its own, nothing is masqueraded. ip-masq-agent syncs every second here instead of every minute.`;
  await keepResults("neighbours", [
    { title: "Programs at work at the same time", how, columns, rows: all, raw: all },
  ]);
});

/** Runs the neighbour until the time is up, and returns the number of its rounds. */
async function theirWork({ work, every }: Neighbour): Promise<number> {
  const end = performance.now() + 1000 * SECONDS;
  for (let n = 0; ; n++) {
    const began = performance.now();
    if (began > end) return n;
    await work(n);
    await Bun.sleep(Math.max(began + every - performance.now(), 0));
  }
}

/** Saves configs until the time is up, and returns their number. */
async function ourChanges(configs: readonly string[]): Promise<number> {
  const end = performance.now() + 1000 * SECONDS;
  for (let n = 1; ; n++) {
    if (performance.now() > end) return n - 1;
    await save(CONFIG, configs[n % 2] ?? "");
    await Bun.sleep(700); // varies in time against neighbours that work once a second
  }
}

/** Whether a question is answered with yes within two seconds, while the agent repairs its rules. */
async function isTrueSoon(question: () => Promise<boolean>): Promise<boolean> {
  for (let left = 20; left > 0; left--) {
    if (await question()) return true;
    await Bun.sleep(100);
  }
  return false;
}

/** Whether connections to the i-th destination keep the Pod's address. */
function isKept(place: number): boolean {
  return place % 2 === 0;
}

async function ownerOf(to: string): Promise<string> {
  return lab.ownerSeen({ protocol: "udp", to });
}
