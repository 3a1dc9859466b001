import { expect, test } from "bun:test";
import { listTables } from "../../src/nft/node-tables.ts";

const METAINFO =
  '{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}';

/** A program that prints a text and exits. */
const printing = (text: string, exitCode = 0) => ["sh", "-c", `printf %s '${text}'; exit ${exitCode}`];

test("one run shows nft's version and the tables of all families", async () => {
  const tables = await listTables(
    printing(
      `{"nftables": [${METAINFO}, {"table": {"family": "ip", "name": "nat", "handle": 1}}, {"table": {"family": "ip6", "name": "nat", "handle": 2}}]}`,
    ),
  );
  expect(tables?.version).toBe("1.0.6");
  expect([tables?.has("ip", "nat"), tables?.has("ip6", "nat"), tables?.has("ip", "filter")]).toEqual([
    true,
    true,
    false,
  ]);
  expect(tables?.mayHaveSets).toBe(false);
});

test.each([
  '{"nftables":[{"metainfo":{"version":"1.1.3"}},{"table":{"family":"netdev","name":"filter","handle":1}}]}',
  `{"nftables": [${METAINFO}, {"table": {"family": "inet", "name": "theirs", "handle": 1}}]}`,
])("foreign tables may have sets: %s", async text => {
  expect((await listTables(printing(text)))?.mayHaveSets).toBe(true);
});

test.each([
  ["exits with 1", printing(`{"nftables": [${METAINFO}]}`, 1)],
  ["crashes", ["sh", "-c", "kill -SEGV $$"]],
  ["prints something else", printing("flush ruleset")],
  [
    "breaks off within the flags of a table",
    printing(
      `{"nftables": [${METAINFO}, {"table": {"family": "ip", "name": "theirs", "handle": 1, "flags": `,
    ),
  ],
  ["warns", ["sh", "-c", `echo warning >&2; printf '{"nftables": [${METAINFO}]}'`]],
  ["does not exist", ["/none/nft"]],
])("the tables are unknown if nft %s", async (_what, argv) => {
  expect(await listTables(argv)).toBeUndefined();
});
