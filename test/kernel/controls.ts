import type { Lab } from "../../lab/lab.ts";
import { renderText } from "../../src/backends/nftables/nftables.ts";
import { policy } from "../policies.ts";

/** A way to change rules that gives wrong verdicts at least on some kernels. */
export interface Control {
  readonly title: string;
  /** The initial rules, and the rules of each change: documents for `nft -f`. */
  readonly before: string;
  change(i: number): string;
}

/** Lists that all contain KEPT, whose flows must never be masqueraded, and differ in almost all other CIDRs. */
export const KEPT = "10.1.2.3";
const LISTS = [
  ["10.0.0.0/8", "192.0.2.0/24", "100.64.0.0/10"],
  ["198.18.0.0/15", "10.1.0.0/16", "172.16.0.0/12", "10.128.0.0/9"],
];

const list = (i: number) => LISTS[i % LISTS.length] ?? [];
const rules = (i: number) => renderText(policy({ keep: list(i) }));
const TABLE = "ip ip-masq-agent";

export const CONTROLS = {
  deleteAndAdd: {
    title: "the table deleted and added in one transaction",
    before: rules(0),
    change: i => `delete table ${TABLE}\n${rules(i + 1)}`,
  },
  flushAndRefill: {
    title: "the set flushed and refilled in one transaction",
    before: rules(0),
    change: i => {
      const set = `${TABLE} non-masquerade-a`;
      return `flush set ${set}\nadd element ${set} { ${list(i + 1).join(", ")} }\n`;
    },
  },
  oneInstall: {
    title: "the first install in one transaction",
    before: `add table ${TABLE}\n`,
    change: i => (i % 2 === 0 ? rules(i) : `delete table ${TABLE}\n`),
  },
} satisfies Record<string, Control>;

/** Makes changes under load, as fast as nft runs. Returns the number of flows, and of masqueraded flows. */
export async function tryControl(
  lab: Lab,
  { before, change }: Control,
  { changes, flowsPerSecond }: { readonly changes: number; readonly flowsPerSecond: number },
): Promise<{ flows: number; wrong: number }> {
  const nft = (input: string) => lab.node.output(["nft", "-f", "-"], { input });
  await nft(before);
  const load = await lab.load({ destinations: [KEPT], flowsPerSecond });
  for (let i = 0; i < changes; i++) await nft(change(i));
  const [kept] = await load.stop();
  return { flows: kept ? kept.sent - kept.lost : 0, wrong: kept?.fromNode ?? 0 };
}
