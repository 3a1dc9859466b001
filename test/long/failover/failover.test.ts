import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { duration, median } from "../../../bench/figure.ts";
import { BINARY, RunningAgent } from "../../../lab/agent.ts";
import { Lab } from "../../../lab/lab.ts";
import type { Load } from "../../../lab/load.ts";
import { save } from "../../../lab/save.ts";
import { freshFolder } from "../../lab.ts";
import { keepResults } from "../compatibility.ts";
import { besideNewer, type Failure, NEWER, wrapped } from "./failures.ts";

/** How often nft starts to crash at the moment of a flush. Only results of full runs are stored. */
const WHOLE_ROUNDS = 3;
const ROUNDS = Number(process.env.FAILOVER_ROUNDS ?? WHOLE_ROUNDS);
const CHANGES = 6;
const REPAIRS = 4;
/** New connections per second. */
const RATE = 2000;
/** Time limit for correct rules, in milliseconds. Without nft monitor, the agent polls every second. */
const LIMIT_MS = 4000;
/** Milliseconds after which the agent no longer verifies its own write. The flushes vary in time between two polls. */
const REST_MS = 1500;

/** lab/isolate mounts an empty /run. */
const FOLDER = "/run/failover";
const CONFIG = `${FOLDER}/ip-masq-agent`;
/** Addresses that every config keeps, and that none keeps. */
const KEPT = "192.0.2.1";
const OUTBOUND = "198.51.100.7";
/** Addresses that one config each keeps. */
const PLACES = ["10.1.2.3", "203.0.113.7"] as const;
const CIDRS = ["10.0.0.0/8", "203.0.113.0/24"] as const;
const ALWAYS = { [KEPT]: "pod", [OUTBOUND]: "node" };

interface Found {
  /** Milliseconds until verdicts are correct. */
  readonly changed: number;
  readonly changes: readonly number[];
  readonly repairs: readonly number[];
  readonly flushes: readonly number[];
  /** Connections that were not masqueraded while the rules were flushed. */
  readonly missed: readonly number[];
  /** Milliseconds until nft writes again. */
  readonly back: readonly number[];
  /** Connections with the wrong address: at the move to the fallback, and at the moves back. */
  readonly wrong: readonly [away: number, back: number];
  readonly sent: number;
}

const found: (Found & { readonly name: string; readonly fallback: string })[] = [];
let lab: Lab;
let agent: RunningAgent | undefined;
let load: Load | undefined;
beforeAll(async () => {
  lab = await Lab.create();
});
afterAll(async () => {
  await lab.close();
  if (found.length === CASES.length && ROUNDS === WHOLE_ROUNDS) await keepResults("failover", [measured()]);
});
beforeEach(() => freshFolder(FOLDER));
afterEach(async () => {
  await agent?.end("SIGKILL");
  await load?.stop();
  agent = undefined;
  load = undefined;
  await lab.flushRules();
});

const CASES: readonly {
  order: "while the agent runs" | "before it starts";
  failure: () => Promise<Failure>;
}[] = [
  { order: "while the agent runs", failure: () => wrapped(lab, "iptables-nft") },
  { order: "before it starts", failure: () => wrapped(lab, "iptables-legacy") },
  ...NEWER.flatMap(suite =>
    (["while the agent runs", "before it starts"] as const).map(order => ({
      order,
      failure: () => besideNewer(lab, suite),
    })),
  ),
];

test.each(CASES)(
  "case %#: an nft that begins to crash $order is replaced, and takes over again when it works",
  async ({ order, failure: make }) => {
    const failure = await make();
    // As kubelet creates it.
    if (failure.fallback === "iptables-legacy") await run("iptables-legacy -t mangle -N KUBE-IPTABLES-HINT");
    const it = await tried(failure, order === "before it starts");
    found.push({ name: `${failure.name}, ${order}`, fallback: failure.fallback, ...it });
    process.stderr.write(`${JSON.stringify(found.at(-1))}\n`);
    expect(it.wrong).toEqual([0, 0]);
    for (const ms of [it.changed, ...it.changes, ...it.repairs, ...it.flushes])
      expect(ms).toBeLessThan(LIMIT_MS);
    // Control: the count detects a wrong address.
    for (const count of it.missed) expect(count).toBeGreaterThan(0);
  },
  240_000,
);

/** Measures one agent in all situations. */
async function tried(failure: Failure, atStart: boolean): Promise<Found> {
  await keep(0);
  let { log } = start(failure);
  await log.until("policy in force");
  if (atStart) {
    await agent?.end();
    await failure.begin();
  }
  load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: RATE, seconds: 200 });
  const moved = until({ ...ALWAYS, ...kept(1) });
  if (atStart) {
    await keep(1);
    ({ log } = start(failure));
  } else {
    await failure.begin();
    await keep(1);
    const [said = ""] = (await log.until("writes the rules because nft fails")).slice(-1);
    expect(said).toContain(`${failure.fallback} writes the rules`);
    expect(said).toContain("crashed (SIGSEGV)");
  }
  const changed = await moved;
  await log.until("policy in force"); // the agent now watches the config
  const away = await wrong();

  const changes = await each(CHANGES, async i => {
    const seen = until(kept(i % 2));
    await keep(i % 2);
    return await seen;
  });
  // nft cannot remove the table with the first config, so only verdicts that differ from it need the repair.
  const repairs = await each(REPAIRS, async i => {
    await Bun.sleep(REST_MS + (1000 * i) / REPAIRS);
    await run(`${failure.fallback} -t nat -F`);
    return await until({ ...ALWAYS, ...kept(1) });
  });

  const back: number[] = [];
  const missed: number[] = [];
  const flushes: number[] = [];
  let returning = 0;
  for (let round = 0; ; round++) {
    const before = await wrong();
    const ended = performance.now();
    await failure.end();
    await log.until("nft writes the rules again");
    back.push(performance.now() - ended);
    expect(await right({ ...ALWAYS, ...kept(1) })).toBe(true);
    await log.until("leftover rules removed");
    returning += (await wrong()) - before;
    if (atStart || round === ROUNDS) break;
    const flushed = await wrong();
    await failure.beginAndFlush();
    flushes.push(await until(ALWAYS));
    await log.until("writes the rules because nft fails");
    missed.push((await wrong()) - flushed);
  }
  const sent = (await load.stop()).reduce((sum, it) => sum + it.sent, 0);
  load = undefined;
  expect(await run("iptables-save -t nat")).not.toContain("MASQ-AGENT");
  expect(await agent?.end()).toBe(0);
  return { changed, changes, repairs, flushes, missed, back, wrong: [away, returning], sent };
}

const run = (line: string) => lab.node.output(["sh", "-c", line]);

/** Saves the config that keeps one of {@link PLACES}. */
const keep = (place: number) => save(CONFIG, `nonMasqueradeCIDRs: [192.0.2.0/24, ${CIDRS[place]}]\n`);

/** The verdicts that distinguish this config from the other one. */
function kept(place: number): Record<string, string> {
  return Object.fromEntries(PLACES.map((to, i) => [to, i === place ? "pod" : "node"]));
}

function start({ environment }: Failure): RunningAgent {
  const flags = [`--config=${CONFIG}`, `--runtime-dir=${FOLDER}/run`];
  agent = RunningAgent.start(lab.node, flags, [...environment, BINARY]);
  return agent;
}

async function right(expected: Readonly<Record<string, string>>): Promise<boolean> {
  const seen = async ([to, owner]: [string, string]) =>
    (await lab.ownerSeen({ protocol: "udp", to })) === owner;
  return (await Promise.all(Object.entries(expected).map(seen))).every(Boolean);
}

/** Milliseconds until all verdicts have the given values. */
async function until(expected: Readonly<Record<string, string>>): Promise<number> {
  const began = performance.now();
  while (!(await right(expected))) {
    if (performance.now() - began > 30_000) throw new Error("the verdicts are not right after 30 s");
    await Bun.sleep(1); // without a pause, these connections would add load
  }
  return performance.now() - began;
}

/** The number of connections with a wrong address so far. */
async function wrong(): Promise<number> {
  const [kept, outbound] = (await load?.tally()) ?? [];
  if (!kept || !outbound) throw new Error("there is no load");
  return kept.fromNode + kept.other + outbound.fromPod + outbound.other;
}

async function each(count: number, measure: (i: number) => Promise<number>): Promise<number[]> {
  const values: number[] = [];
  for (let i = 0; i < count; i++) values.push(await measure(i));
  return values;
}

function measured() {
  const ms = (values: readonly number[]) => duration(Math.round(median(values)) / 1000);
  const range = (values: readonly number[]) =>
    values.length === 0 ? "–" : `${ms(values)}, at most ${duration(Math.round(Math.max(...values)) / 1000)}`;
  return {
    title: "nft crashes while the agent runs",
    how: `nft starts to crash while the agent runs, or before it starts beside the table of an earlier agent. At that moment, a new config is saved. While iptables writes the rules, the config is saved ${CHANGES} times and table \`nat\` is flushed ${REPAIRS} times. Then nft works again; the agent retries it after 10 s, 20 s and so on. Finally nft starts to crash ${ROUNDS} times at the moment when another program deletes the table; connections that were not masqueraded until the repair are counted separately. Meanwhile ${RATE} new connections/s pass the node, half of them to a kept and half to a masqueraded address. Times are medians, measured until connections get the right address.`,
    columns: [
      "nft",
      "fallback",
      "new config applied after",
      "deleted table restored after",
      "connections not masqueraded until then",
      "later configs applied after",
      "flush repaired after",
      "nft writes again after",
      "wrong verdicts, move",
      "wrong verdicts, moves back",
      "connections",
    ],
    rows: found.map(it => [
      it.name,
      it.fallback,
      ms([it.changed]),
      range(it.flushes),
      it.missed.length === 0 ? "–" : it.missed.join(", "),
      range(it.changes),
      range(it.repairs),
      range(it.back),
      ...it.wrong.map(String),
      `${it.sent}`,
    ]),
    raw: found,
  };
}
