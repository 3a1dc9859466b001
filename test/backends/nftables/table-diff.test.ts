import { expect, test } from "bun:test";
import { withGenerations } from "../../../src/backends/nftables/generations.ts";
import { ruleset } from "../../../src/backends/nftables/ruleset.ts";
import { TableDiff } from "../../../src/backends/nftables/table-diff.ts";
import { transition } from "../../../src/backends/nftables/transition.ts";
import type { AddressSet, Table } from "../../../src/nft/table.ts";
import { policy } from "../../policies.ts";

function tableOf(...keep: string[]): Table {
  const [table] = ruleset(policy({ keep, masqLinkLocal: true }));
  if (!table) throw new TypeError("no table");
  return table;
}

/** The set of a table, under a name and with a number as in the kernel. */
function setOf(table: Table, name: string, handle?: number): AddressSet {
  const [set] = table.sets;
  if (!set) throw new TypeError("no set");
  return { ...set, name, ...(handle !== undefined && { handle }) };
}

const desired = tableOf("10.0.0.0/8");
const other = tableOf("192.0.2.0/24");
const another = tableOf("198.51.100.0/24");

/** The desired table in the kernel, without the rules that refer to its set, and with other sets. */
function flushed(...sets: readonly AddressSet[]): Table {
  const { chains, ...rest } = withGenerations(desired, new Map());
  return { ...rest, chains: chains.map(chain => (chain.hook ? chain : { ...chain, rules: [] })), sets };
}

const RULES = [
  '\t\tip daddr @non-masquerade return comment "ip-masq-agent: cluster-local traffic"',
  '\t\tcounter name "outbound" masquerade fully-random comment "ip-masq-agent: outbound traffic"',
];
const OWN = '\t\t\t10.0.0.0/8 comment "/config:2",';
const OTHER = '192.0.2.0/24 comment "/config:2",';

test.each<[string, AddressSet[], string[], string[], string[]]>([
  ["an equal set is not a change", [setOf(desired, "non-masquerade-a", 3)], RULES, [], []],
  [
    "an equal set is not a change beside newer sets",
    [setOf(other, "non-masquerade-a", 9), setOf(desired, "non-masquerade-b", 3)],
    RULES,
    [],
    [],
  ],
  [
    "the newest of other sets has changed elements",
    [setOf(other, "non-masquerade-a", 9), setOf(another, "non-masquerade-b", 3)],
    [...RULES, OWN.trim()],
    [OTHER],
    ["non-masquerade-c"],
  ],
  [
    "a set that was written after the listing is the newest",
    [setOf(another, "non-masquerade-a", 9), setOf(other, "non-masquerade-b")],
    [...RULES, OWN.trim()],
    [OTHER],
    ["non-masquerade-c"],
  ],
  [
    "a set of a list that the policy does not have is not a change",
    [setOf(other, "masquerade-a", 4), setOf(desired, "non-masquerade-a", 3)],
    RULES,
    [],
    [],
  ],
])("without the rules that refer to it, %s", (_what, sets, added, removed, built) => {
  const actual = flushed(...sets);
  const diff = new TableDiff(desired, actual);
  expect([diff.inSync, diff.changes]).toEqual([false, { added, removed }]);
  expect(transition(desired, actual, "typeof").build.map(({ set }) => set.name)).toEqual(built);
});

test("beside a set that rules refer to, an equal set without rules is not current", () => {
  const actual = withGenerations(other, new Map([["non-masquerade", "b"]]));
  const sets = [setOf(desired, "non-masquerade-a", 9), ...actual.sets];
  expect(new TableDiff(desired, { ...actual, sets }).changes).toEqual({
    added: [OWN.trim()],
    removed: [OTHER],
  });
});
