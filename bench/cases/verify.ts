/** The cost of a proof by `ipmasq verify`, with long lists and many foreign rules. */
import { BINARY } from "../../lab/agent.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { defineCase, type Report } from "../case.ts";
import { cidrs } from "../cidrs.ts";
import { duration, median, megabytes } from "../figure.ts";
import { type Cost, Meter } from "../meter.ts";
import { Paths } from "../wire/paths.ts";

const ROUNDS = 3;
const SIZE = 10_000;

/** Foreign rules in table `nat`, which `verify` must not confuse with each other. */
const FOREIGN: Readonly<Record<string, (i: number) => string>> = {
  "by source and destination": i =>
    `-s 10.244.${i >> 8}.${i & 255}/32 -d 100.${i >> 8}.${i & 255}.0/24 -j MASQUERADE`,
  "by source, as the CNI plugins": i => `-s 10.244.${i >> 8}.${i & 255}/32 ! -d 10.244.0.0/16 -j MASQUERADE`,
};

const WRITERS = ["nftables", "iptables"] as const;

/** The costs by backend and kind of foreign rules, one per round. */
type Raw = Record<string, Cost[]>;

export const verify = defineCase("Verify", measure, report);

async function measure(): Promise<Raw> {
  await using paths = await Paths.create();
  const config = await saveConfig(cidrs(SIZE), "/run/bench-verify");
  const raw: Raw = {};
  for (const backend of WRITERS) {
    for (const [name, rule] of [["none", undefined] as const, ...Object.entries(FOREIGN)]) {
      const { node } = await paths.add();
      const begin = [BINARY, "run", "--once", `--config=${config}`, `--backend=${backend}`];
      await node.output(begin);
      const lines = rule
        ? Array.from({ length: SIZE }, (_, i) => `-A POSTROUTING ${rule(i)}\n`).join("")
        : "";
      await node.output(["iptables-nft-restore", "--noflush"], { input: `*nat\n${lines}COMMIT\n` });
      const costs: Cost[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const meter = new Meter(node);
        const { exitCode, stderr } = await meter.run([BINARY, "verify", `--config=${config}`]);
        if (exitCode > 1) throw new Error(`not proven: ${stderr}`);
        costs.push(meter.cost);
      }
      raw[`${backend}, ${name}`] = costs;
    }
  }
  return raw;
}

function report(raw: Raw): Report {
  const all = Object.values(raw).flat();
  return {
    how: `\`ipmasq verify\` proves 10,000 CIDRs, beside no foreign rules and beside 10,000 rules of iptables-nft. Medians of ${ROUNDS} rounds.`,
    tables: [
      {
        columns: ["backend, foreign rules", "time", "CPU", "memory"],
        rows: Object.entries(raw).map(([name, costs]) => [
          name,
          duration(median(costs.map(it => it.wall))),
          duration(median(costs.map(it => it.user + it.system))),
          megabytes(median(costs.map(it => it.peak))),
        ]),
      },
    ],
    targets: [
      {
        what: "proof with 10,000 CIDRs and 10,000 foreign rules, longest time",
        peer: "none",
        marks: [{ value: Math.max(...all.map(it => it.wall)), must: 2, aim: 1, show: duration }],
      },
    ],
  };
}
