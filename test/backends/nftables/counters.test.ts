import { expect, test } from "bun:test";
import { counters } from "../../../src/backends/nftables/counters.ts";
import { withGenerations } from "../../../src/backends/nftables/generations.ts";
import { ruleset } from "../../../src/backends/nftables/ruleset.ts";
import type { Rule, Table } from "../../../src/nft/table.ts";
import { policy } from "../../policies.ts";

/** A table as in the kernel, with counts: each element and each named counter has one packet more than the one before. */
function counted(desired: Table): Table {
  const table = withGenerations(desired, new Map());
  let packets = 0;
  const next = () => {
    packets += 1;
    return { packets, bytes: 60 * packets };
  };
  return {
    ...table,
    sets: table.sets.map(set => ({
      ...set,
      counts: set.elements.flatMap(() => (set.counting ? Object.values(next()) : [0, 0])),
    })),
    counters: table.counters.map(it => ({ ...it, count: next() })),
  };
}

const said = (tables: readonly Table[]) =>
  tables
    .flatMap(counters)
    .map(it => `${it.verdict} ${it.cidr?.text ?? "rest"}: ${it.connections}, ${it.bytes}`);

const short = { keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"], sources: ["10.244.0.0/16"] };
const flags = { toPorts: [{ first: 1024, last: 2000 }] };

test("elements count their CIDRs, and a named counter counts all other connections", () => {
  expect(said(ruleset(policy(short, flags)).map(counted))).toEqual([
    "masquerade rest: 5, 300", // the source is 4
    "masquerade 10.96.0.0/12: 1, 60",
    "keep 10.0.0.0/8: 2, 120",
    "keep 169.254.0.0/16: 3, 180",
  ]);
});

test("without exceptions the masquerading rules share the counter of all other connections", () => {
  const tables = ruleset(policy({ keep: ["10.0.0.0/8"], masqLinkLocal: true }, flags)).map(counted);
  expect(said(tables)).toEqual(["masquerade rest: 2, 120", "keep 10.0.0.0/8: 1, 60"]);
});

test("rules count if elements do not, and no connection is counted twice", () => {
  const tables = ruleset(policy(short, flags), { elementCounters: false, ipsec: true }).map(counted);
  expect(said(tables)).toEqual(["masquerade rest: 1, 60", "keep rest: 2, 120", "masquerade rest: 3, 180"]);
});

test("a table that was not read from the kernel has zero counts", () => {
  const tables = ruleset(policy(short, flags)).map(table => withGenerations(table, new Map()));
  expect(said(tables)).toEqual([
    "masquerade rest: 0, 0",
    "masquerade 10.96.0.0/12: 0, 0",
    "keep 10.0.0.0/8: 0, 0",
    "keep 169.254.0.0/16: 0, 0",
  ]);
});

test("a replaced set still has its counts, with its own identity, even if no rule refers to its list any longer", () => {
  const [desired] = ruleset(policy({ keep: ["10.0.0.0/8"], masqLinkLocal: true }));
  if (!desired) throw new TypeError("no table");
  const table = counted(desired);
  const sets = table.sets.flatMap(set => [
    { ...set, name: "non-masquerade-a", handle: 2 },
    { ...set, name: "non-masquerade-b", handle: 3 },
    { ...set, name: "masquerade-c", handle: 4 },
  ]);
  const { chains } = withGenerations(desired, new Map([["non-masquerade", "b"]]));
  const found = counters({ ...table, handle: 1, sets, chains }).filter(({ cidr }) => cidr);
  expect(found.map(({ identity, verdict, connections }) => [identity, verdict, connections])).toEqual([
    ["1 2", "keep", 1],
    ["1 3", "keep", 1],
    ["1 4", "masquerade", 1],
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
