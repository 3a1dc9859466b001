/** New connections per second on one core of a node, by length of the list. */
import { messageOf } from "../../src/system/errors.ts";
import { ProgramError } from "../../src/system/program.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { IPMASQ, IPMASQ_IPTABLES } from "../baselines/ipmasq.ts";
import { ANONYMOUS, CHAINS, FORWARDING, KINDNET, PLAIN } from "../baselines/rules.ts";
import { defineCase, type Report } from "../case.ts";
import { addressIn, cidrs, failures, inWords, OUTBOUND } from "../cidrs.ts";
import { median, number, percent, ratios, spread, times } from "../figure.ts";
import type { Table } from "../run.ts";
import type { Mark } from "../targets.ts";
import { type Passed, type Path, Paths } from "../wire/paths.ts";
import { SENDERS, type Sender } from "../wire/slice.ts";

/** A slice ends after this many flows or ms. 20,000 flows take 35 ms where no list is walked through. */
const FLOWS = 20_000;
const LIMIT_MS = 40;
const ROUNDS = 9;
/** Chains differ by factors, so a few rounds are enough. */
const LINEAR_ROUNDS = 3;

const SIZES = [4, 64, 1000, 10_000, 100_000];
const BASELINES = [FORWARDING, PLAIN, IPMASQ, ANONYMOUS, KINDNET, ...IPMASQ_IPTABLES, ...CHAINS];

/** The entry that matches the destination. */
const MATCHES = ["first", "last", "none"] as const;
type Match = (typeof MATCHES)[number];

/** The results of one baseline with one list. */
export interface Tried {
  readonly baseline: string;
  readonly size: number;
  /** Why it failed to load the list. */
  readonly failure?: string;
  /** New connections per second, one number per round. */
  readonly rates: Readonly<Record<Sender, Record<Match, number[]>>>;
}

export const throughput = defineCase(
  "New connections per second",
  () => measureRates(SIZES, BASELINES, ROUNDS),
  report,
);

/** Measures new connections per second for lists of these sizes. The baselines take turns. */
export async function measureRates(
  sizes: readonly number[],
  baselines: readonly Baseline[],
  rounds: number,
): Promise<Tried[]> {
  const tried: Tried[] = [];
  const clock = new Clock();
  for (const size of sizes) {
    await using paths = await Paths.create();
    const list = cidrs(size);
    const lanes: { baseline: Baseline; path: Path; rates: Tried["rates"] }[] = [];
    for (const baseline of baselines) {
      const path = await paths.add();
      const failure = await install(baseline, path, list);
      const rates = { udp: byMatch(), tcp: byMatch(), socket: byMatch() };
      tried.push({ baseline: baseline.name, size, rates, ...(failure === undefined ? {} : { failure }) });
      if (failure === undefined) lanes.push({ baseline, path, rates });
    }
    // Round 0 warms up.
    for (let round = 0; round <= rounds; round++) {
      for (const sender of SENDERS) {
        for (const match of sender === "socket" ? (["none"] as const) : MATCHES) {
          for (const { baseline, path, rates } of lanes) {
            if (baseline.linear && round > LINEAR_ROUNDS) continue;
            const passed = await paths.send(path, sender, destination(match, size), FLOWS, LIMIT_MS);
            mustBeRight(baseline, match, passed);
            clock.tick(passed);
            if (round > 0) rates[sender][match].push((1000 * passed.arrived) / clock.timeOf(passed));
          }
        }
      }
    }
  }
  return tried;
}

/**
 * The time of a slice. The sender's CPU time is better than elapsed time, because other programs may use its core.
 * But a kernel with CONFIG_IRQ_TIME_ACCOUNTING does not count the node's softirqs to the sender. Without that option
 * the sender uses its core fully in some slice of the first round.
 */
class Clock {
  #busiest = 0;

  tick({ took, cpu }: Passed): void {
    this.#busiest = Math.max(this.#busiest, cpu / took);
  }

  timeOf({ took, cpu }: Passed): number {
    return this.#busiest > 0.8 ? cpu : took;
  }
}

function byMatch(): Record<Match, number[]> {
  return { first: [], last: [], none: [] };
}

/** Returns why it failed, if it did. */
async function install({ prepare, sync }: Baseline, { node }: Path, list: readonly string[]) {
  const run = (argv: readonly string[], input?: string) => node.run(argv, input);
  try {
    await prepare?.(run);
    await sync(run, list, `/run/bench/${node.name}`);
    return undefined;
  } catch (error) {
    return error instanceof ProgramError ? error.remedy : messageOf(error); // a ProgramError: it was killed
  }
}

function destination(match: Match, size: number): string {
  if (match === "none") return OUTBOUND;
  return addressIn(match === "first" ? 0 : size - 1);
}

/** A baseline that gives wrong verdicts or drops flows has no rate. */
function mustBeRight({ name }: Baseline, match: Match, { masqueraded, sent, arrived }: Passed): void {
  const desired = name === FORWARDING.name ? 0 : match === "none" || name === PLAIN.name ? 1 : 0;
  if (masqueraded === desired && arrived > 0.99 * sent) return;
  throw new Error(
    `${name}: ${arrived} of ${sent} flows arrived, ${percent(masqueraded)} masqueraded; expected ${percent(desired)}`,
  );
}

function report(tried: readonly Tried[]): Report {
  const names = [...new Set(tried.map(({ baseline }) => baseline))];
  const listed = names.filter(name => name !== FORWARDING.name);
  const others = listed.filter(name => !name.startsWith("ipmasq") && name !== PLAIN.name);
  const rates = (name: string, size: number, sender: Sender, match: Match): readonly number[] =>
    tried.find(it => it.baseline === name && it.size === size)?.rates[sender][match] ?? [];
  const rate = (...of: Parameters<typeof rates>) => number(median(rates(...of)));
  const ratio = (name: string, size: number, sender: Sender) =>
    median(ratios(rates(name, size, sender, "none"), rates(PLAIN.name, size, sender, "none")));
  const table = (
    caption: string,
    rows: readonly string[],
    cell: (name: string, size: number) => string,
  ): Table => ({
    caption,
    columns: ["", ...SIZES.map(inWords)],
    rows: rows.map(name => [name, ...SIZES.map(size => cell(name, size))]),
  });
  const beside = (sender: Sender): Mark[] =>
    [4, 10_000, 100_000].map(size => ({
      of: inWords(size),
      value: ratio(IPMASQ.name, size, sender),
      aim: 0.95,
      more: true,
      show: times,
    }));
  const besideChain = (of: string, must: number): Mark => {
    const [ours = 0, chain = 0] = [IPMASQ.name, `RETURN chain, ${of}`].map(name =>
      median(rates(name, 10_000, "udp", "none")),
    );
    return { of, value: ours / chain, must, more: true, show: times };
  };
  return {
    how: `A node forwards new flows from a Pod as fast as one core can, including the sending. A flow is one empty UDP datagram or TCP SYN. The sender and all of the node's work share that core. The sender writes Ethernet frames to a packet socket, the cheapest way; "socket" is a UDP socket, as programs use it. A wrong verdict or a lost flow ends the case. Each list starts with link-local. Figures are medians of ${ROUNDS} slices (chains: ${LINEAR_ROUNDS}) of ${number(FLOWS)} flows or ${LIMIT_MS} ms, taken in turns. "masquerade, no list" is the reference of the ratios.${failures(tried)}`,
    chart: {
      name: "throughput",
      title: "New UDP connections per second on one core, no entry matches",
      x: "CIDRs",
      y: "per second",
      series: listed.map(name => ({
        name,
        ours: name.startsWith("ipmasq"),
        points: SIZES.map(x => ({ x, y: median(rates(name, x, "udp", "none")) })).filter(({ y }) => y > 0),
      })),
    },
    tables: [
      table("UDP, no entry matches: masqueraded (ratio to no list, spread)", names, (name, size) => {
        const spreads = percent(spread(rates(name, size, "udp", "none")));
        return `${rate(name, size, "udp", "none")} (${number(ratio(name, size, "udp"))}, ± ${spreads})`;
      }),
      table("UDP, kept: the first entry matches, the last entry matches", names, (name, size) =>
        MATCHES.slice(0, 2)
          .map(match => rate(name, size, "udp", match))
          .join(", "),
      ),
    ],
    comparisons: (["udp", "tcp"] as const).flatMap(sender =>
      MATCHES.flatMap(match =>
        SIZES.map(size => ({
          what: `New ${sender.toUpperCase()} connections, ${match === "none" ? "no" : `the ${match}`} entry matches`,
          at: inWords(size),
          better: "more" as const,
          ours: rates(IPMASQ.name, size, sender, match),
          others: others
            .map(name => [name, rates(name, size, sender, match)] as const)
            .filter(([, it]) => it.length > 0),
        })),
      ),
    ),
    targets: [
      {
        what: "new UDP connections per second on one core, 10,000 CIDRs, beside the chain of RETURN rules",
        peer: CHAINS.map(({ name }) => `${rate(name, 10_000, "udp", "none")} (${name.slice(14)})`).join(", "),
        marks: [besideChain("iptables-nft", 15), besideChain("iptables-legacy", 7)],
      },
      {
        what: `the same from a UDP socket, beside a node that masquerades without a list (${rate(PLAIN.name, 10_000, "socket", "none")})`,
        peer: "–",
        marks: beside("socket"),
      },
      {
        what: `the same with frames (${rate(PLAIN.name, 10_000, "udp", "none")} without a list)`,
        peer: "–",
        marks: beside("udp"),
      },
    ],
  };
}
