/** New connections per second on one core, with and without `enforceNonMasquerade`. */
import { IPMASQ, IPMASQ_ENFORCING, IPMASQ_IPTABLES } from "../baselines/ipmasq.ts";
import { defineCase, type Report } from "../case.ts";
import { failures, inWords } from "../cidrs.ts";
import { median, number, ratios } from "../figure.ts";
import { measureRates, type Tried } from "./throughput.ts";

const SIZES = [4, 10_000];
const ROUNDS = 9;

export const enforce = defineCase(
  "Enforced kept addresses",
  () => measureRates(SIZES, [IPMASQ, ...IPMASQ_IPTABLES, ...IPMASQ_ENFORCING], ROUNDS),
  report,
);

function report(tried: readonly Tried[]): Report {
  const names = [...new Set(tried.map(({ baseline }) => baseline))];
  const rates = (name: string, size: number, match: "last" | "none"): readonly number[] =>
    tried.find(it => it.baseline === name && it.size === size)?.rates.udp[match] ?? [];
  const without = (name: string) => name.replace(/, enforceNonMasquerade$/, "");
  const cell = (name: string, size: number, match: "last" | "none") => {
    const rate = number(median(rates(name, size, match)));
    if (name === without(name)) return rate;
    return `${rate} (${number(median(ratios(rates(name, size, match), rates(without(name), size, match))))})`;
  };
  return {
    how: `As under "New connections per second": new UDP flows from a Pod through a node, on one core. With \`enforceNonMasquerade\`, the kernel looks kept connections up before the rules of other programs, and masqueraded ones twice. In parentheses: the ratio to the same backend without the key. Medians of ${ROUNDS} slices (iptables: 3), taken in turns.${failures(tried)}`,
    tables: [
      {
        caption: "Kept: the last entry matches",
        columns: ["", ...SIZES.map(inWords)],
        rows: names.map(name => [name, ...SIZES.map(size => cell(name, size, "last"))]),
      },
      {
        caption: "Masqueraded: no entry matches",
        columns: ["", ...SIZES.map(inWords)],
        rows: names.map(name => [name, ...SIZES.map(size => cell(name, size, "none"))]),
      },
    ],
  };
}
