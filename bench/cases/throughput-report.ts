import { IPMASQ } from "../baselines/ipmasq.ts";
import { FORWARDING, PLAIN } from "../baselines/references.ts";
import type { Chart } from "../chart.ts";
import { inWords, shortfalls } from "../cidrs.ts";
import type { Comparison, Entry } from "../comparison.ts";
import { median, number, plusMinus, ratios, spread } from "../figure.ts";
import type { Benchmark, Table } from "../result.ts";
import type { Target } from "../targets.ts";
import type { Sender } from "../wire/slice.ts";
import { BASELINES, MATCHES, type Match, SIZES, type Tried } from "./tried.ts";

const NAMES: Readonly<Record<Sender, string>> = {
  udp: "UDP",
  tcp: "TCP",
  socket: "UDP from a socket",
};

/** What is sent as frames, which cost little to send. */
const FRAMES = ["udp", "tcp"] as const;

export function reportThroughput(tried: readonly Tried[], rounds: string): Benchmark {
  const results = new Throughput(tried);
  return {
    title: "New connections a second",
    how: `A node forwards new flows from a Pod as fast as one core goes, sending included: an empty UDP datagram or a TCP SYN each. The sender is pinned to the core, on which the veth pairs do all of the node's work too. It sends Ethernet frames by sendmmsg on a packet socket, which is the cheapest way, so that the node's work is most of what is measured; "from a socket" is the way of an ordinary program, by sendmmsg on a UDP socket. The sink counts them by source address; a wrong verdict or a lost flow ends the case. Every list has link-local in front; "first", "last", "none" say which entry the destination is in. ${rounds} Ratios are of slices taken one after the other. The references: a node that masquerades everything without a list, and one that forwards without connection tracking.`,
    tables: [
      ...FRAMES.flatMap(sender => MATCHES.map(match => results.rates(sender, match))),
      results.rates("socket", "none"),
      results.cost(),
    ],
    charts: [results.chart()],
    comparisons: results.comparisons(),
    targets: results.targets(),
    notes: shortfalls(tried),
    raw: tried,
  };
}

/** What was tried, and what it comes to. */
class Throughput {
  constructor(private readonly tried: readonly Tried[]) {}

  rates(sender: Sender, match: Match): Table {
    const matching = match === "none" ? "no entry matches: masqueraded" : `the ${match} entry matches: kept`;
    return {
      caption: `${NAMES[sender]}, ${matching}. New connections a second; in brackets the ratio to masquerading without a list`,
      columns: ["", ...SIZES.map(size => inWords(size)), "spread"],
      rows: BASELINES.map(({ name }) => {
        const all = SIZES.map(size => this.#rates(name, size, sender, match));
        const cells = SIZES.map((size, i) => {
          const rates = all[i] ?? [];
          const ratio = median(ratios(rates, this.#rates(PLAIN.name, size, sender, match)));
          return rates.length === 0
            ? "–"
            : `${number(median(rates))} (${ratio.toFixed(ratio < 0.1 ? 3 : 2)})`;
        });
        return [name, ...cells, plusMinus(Math.max(...all.filter(it => it.length > 0).map(spread)))];
      }),
    };
  }

  /** Without what the sender and forwarding take. */
  cost(): Table {
    return {
      caption:
        "CPU of a new UDP connection that no entry matches, in µs: what connection tracking, rules and NAT add to sending and forwarding the packet",
      columns: ["", ...SIZES.map(size => inWords(size))],
      rows: BASELINES.filter(({ name }) => name !== FORWARDING.name).map(({ name }) => [
        name,
        ...SIZES.map(size => number(this.#micros(name, size) - this.#micros(FORWARDING.name, size))),
      ]),
    };
  }

  chart(): Chart {
    return {
      name: "throughput",
      title: "New UDP connections a second on one core, no entry matches",
      x: "CIDRs",
      y: "a second",
      series: BASELINES.filter(({ name }) => name !== FORWARDING.name).map(({ name, ours }) => ({
        name,
        ours,
        points: SIZES.map(x => ({ x, y: median(this.#rates(name, x, "udp", "none")) })).filter(
          ({ y }) => !Number.isNaN(y),
        ),
      })),
    };
  }

  comparisons(): Comparison[] {
    return FRAMES.flatMap(sender =>
      MATCHES.flatMap(match =>
        SIZES.map((size): Comparison => {
          const entry = (name: string): Entry => ({
            name,
            samples: this.#rates(name, size, sender, match),
          });
          const others = BASELINES.filter(
            ({ name, ours }) => !ours && name !== FORWARDING.name && name !== PLAIN.name,
          );
          const matching = match === "none" ? "no entry matches" : `the ${match} entry matches`;
          return {
            what: `New connections by ${NAMES[sender]}, ${matching}`,
            at: inWords(size),
            better: "more",
            ours: entry(IPMASQ.name),
            others: others.map(({ name }) => entry(name)).filter(({ samples }) => samples.length > 0),
          };
        }),
      ),
    );
  }

  targets(): Target[] {
    const rate = (name: string) => median(this.#rates(name, 10_000, "udp", "none"));
    const [nft, legacy] = ["iptables-nft", "iptables-legacy"].map(variant =>
      rate(`RETURN chain, ${variant}`),
    );
    const ours = rate(IPMASQ.name);
    const beside = (sender: Sender, aim: number): Target["marks"] =>
      [4, 10_000, 100_000].map(size => {
        const [list, none] = [IPMASQ, PLAIN].map(({ name }) => this.#rates(name, size, sender, "none"));
        const value = median(ratios(list ?? [], none ?? []));
        return { of: inWords(size), unit: "times", better: "more", value, aim };
      });
    const reference = (sender: Sender) => number(median(this.#rates(PLAIN.name, 10_000, sender, "none")));
    return [
      {
        what: "new UDP connections a second on one core, 10,000 CIDRs, beside the chain of RETURN rules",
        peer: `${number(nft ?? Number.NaN)} (iptables-nft), ${number(legacy ?? Number.NaN)} (legacy)`,
        marks: [
          { of: "iptables-nft", unit: "times", better: "more", value: ours / (nft ?? Number.NaN), must: 15 },
          { of: "legacy", unit: "times", better: "more", value: ours / (legacy ?? Number.NaN), must: 7 },
        ],
      },
      {
        what: `the same from a UDP socket, beside a node that masquerades without any list (${reference("socket")})`,
        peer: "–",
        marks: beside("socket", 0.95),
      },
      {
        what: `the same by frames, which cost next to nothing to send (${reference("udp")} without any list)`,
        peer: "–",
        marks: beside("udp", 0.95),
      },
    ];
  }

  #rates(baseline: string, size: number, sender: Sender, match: Match): readonly number[] {
    const found = this.tried.find(it => it.baseline === baseline && it.size === size);
    return found?.rates[sender][match] ?? [];
  }

  #micros(baseline: string, size: number): number {
    return 1e6 / median(this.#rates(baseline, size, "udp", "none"));
  }
}
