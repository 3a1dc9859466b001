import { expect, test } from "bun:test";
import { counters } from "../../../src/backends/nftables/counters.ts";
import { ruleset } from "../../../src/backends/nftables/ruleset.ts";
import type { Rule, Table } from "../../../src/nft/table.ts";
import { policy } from "../../policies.ts";

/** A table with counts: each element and each rule with a counter has one packet more than the one before. */
function counted(table: Table): Table {
  let packets = 0;
  const next = () => {
    packets += 1;
    return { packets, bytes: 60 * packets };
  };
  const count = (rule: Rule): Rule => ({
    ...rule,
    expr: rule.expr.map(it => ("counter" in it ? { counter: next() } : it)),
  });
  return {
    ...table,
    sets: table.sets.map(set => ({
      ...set,
      elements: set.elements.map(it => (set.counting ? { ...it, count: next() } : it)),
    })),
    chains: table.chains.map(chain => ({ ...chain, rules: chain.rules.map(count) })),
  };
}

const said = (tables: readonly Table[]) =>
  tables
    .flatMap(counters)
    .map(it => `${it.verdict} ${it.cidr?.text ?? "rest"}: ${it.connections}, ${it.bytes}`);

const short = { keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"], sources: ["10.244.0.0/16"] };
const flags = { toPorts: [{ first: 1024, last: 2000 }] };

test("elements count their CIDRs, and the last rule counts all other connections", () => {
  expect(said(ruleset(policy(short, flags)).map(counted))).toEqual([
    "masquerade 10.96.0.0/12: 1, 60",
    "keep 10.0.0.0/8: 2, 120",
    "keep 169.254.0.0/16: 3, 180",
    "masquerade rest: 5, 300", // the source is 4
  ]);
});

test("without exceptions the masquerading rules together count all other connections", () => {
  const tables = ruleset(policy({ keep: ["10.0.0.0/8"], masqLinkLocal: true }, flags)).map(counted);
  expect(said(tables)).toEqual(["keep 10.0.0.0/8: 1, 60", "masquerade rest: 5, 300"]);
});

test("rules count if elements do not, and no connection is counted twice", () => {
  const tables = ruleset(policy(short, flags), { elementCounters: false, ipsec: true }).map(counted);
  expect(said(tables)).toEqual(["masquerade rest: 4, 240", "keep rest: 2, 120"]);
});

test("a table that was not read from the kernel has zero counts", () => {
  expect(said(ruleset(policy(short, flags)))).toEqual([
    "masquerade 10.96.0.0/12: 0, 0",
    "keep 10.0.0.0/8: 0, 0",
    "keep 169.254.0.0/16: 0, 0",
    "masquerade rest: 0, 0",
  ]);
});

test("unused sets and foreign rules do not count", () => {
  const [table] = ruleset(policy({ keep: ["10.0.0.0/8"], masqLinkLocal: true })).map(counted);
  if (!table) throw new TypeError("no table");
  const [set] = table.sets;
  const foreign: Rule = {
    expr: [{ counter: { packets: 99, bytes: 99 } }, { masquerade: null }],
    comment: "mine",
  };
  const more: Table = {
    ...table,
    sets: [...table.sets, ...(set ? [{ ...set, name: "spare" }] : [])],
    chains: table.chains.map(chain => ({ ...chain, rules: [...chain.rules, foreign] })),
  };
  expect(said([more])).toEqual(said([table]));
});
