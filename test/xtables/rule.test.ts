import { describe, expect, test } from "bun:test";
import { normalText, parseRule, ruleText } from "../../src/xtables/rule.ts";

describe("equivalent rules have the same normal form", () => {
  test.each([
    [
      '-d 10.0.0.0/8 -m comment --comment "a b" -j RETURN',
      '-m comment --comment "a b" --destination 10.0.0.0/8 -j RETURN',
    ],
    ["-d 10.1.2.3/32 -j RETURN", "-d 10.1.2.3 -j RETURN"],
    ["-d fd00::1/128 -j RETURN", "-d fd00:0::1 -j RETURN"],
    ["-d ::100:0/104 -j RETURN", "-d ::1.0.0.0/104 -j RETURN"],
    ["-d 0.0.0.0/0 -j MASQUERADE", "-j MASQUERADE"],
    ["-m addrtype ! --dst-type LOCAL -j X", "! --dst-type LOCAL -m addrtype -j X"],
    [
      "-m statistic --mode random --probability 0.33300000010 -j X",
      "-m statistic --mode random --probability 0.33299999987 -j X",
    ],
    ["-m comment --comment x -j X", '-m comment --comment "x" -j X'],
  ])("%s", (one, other) => {
    expect(normalText(parseRule(one))).toBe(normalText(parseRule(other)));
  });

  test.each([
    ["-d 10.0.0.0/8 -j RETURN", "! -d 10.0.0.0/8 -j RETURN"],
    ["-d 10.0.0.0/8 -j RETURN", "-s 10.0.0.0/8 -j RETURN"],
    ["-j X", "-g X"],
    ["-j MASQUERADE", "-j MASQUERADE --random-fully"],
    ["-o eth0 -j X", "-o eth+ -j X"],
  ])("but not %s and %s", (one, other) => {
    expect(normalText(parseRule(one))).not.toBe(normalText(parseRule(other)));
  });
});

test("quotes and backslashes survive printing and parsing", () => {
  const rule = ["-m", "comment", "--comment", 'a "b" \\ c', "-j", "X"];
  expect(ruleText(rule)).toBe('-m comment --comment "a \\"b\\" \\\\ c" -j X');
  expect(parseRule(ruleText(rule))).toEqual(rule);
});
