import { expect, test } from "bun:test";
import { parseListing } from "../../src/nft/json.ts";

const payload = { payload: { protocol: "ip", field: "daddr" } };
const prefix = { prefix: { addr: "10.0.0.0", len: 8 } };

/** The statements of a rule, as they are parsed. */
function parsed(...expr: readonly unknown[]): unknown {
  const rule = { family: "ip", table: "nat", chain: "X", expr };
  return parseListing(JSON.stringify({ nftables: [{ rule }] })).map(it =>
    "rule" in it ? it.rule.expr : it,
  )[0];
}

test("usual statements are parsed as they are", () => {
  const usual = [
    { match: { op: "==", left: payload, right: prefix } },
    { match: { op: "!=", left: payload, right: "10.0.0.1" } },
    { counter: { packets: 1, bytes: 60 } },
    { return: null },
  ];
  expect(parsed(...usual)).toEqual(usual);
});

test.each([
  ["another key beside the statement", { return: null, comment: "x" }],
  ["a counter with a quota", { counter: { packets: 1, bytes: 60, quota: 3 } }],
  ["a verdict with a number", { return: 1 }],
])("unusual statements stay unknown: %s", (_what, statement) => {
  expect(parsed(statement)).toEqual([{ unknown: JSON.stringify(statement) }]);
});

test.each([
  ["left side", { ...payload, mask: 1 }, prefix],
  ["right side", payload, { ...prefix, mask: 1 }],
])("an unusual %s of a match stays unknown", (side, left, right) => {
  const unknown = { unknown: JSON.stringify(side === "left side" ? left : right) };
  const sides = side === "left side" ? { left: unknown, right } : { left, right: unknown };
  expect(parsed({ match: { op: "==", left, right } })).toEqual([{ match: { op: "==", ...sides } }]);
});
