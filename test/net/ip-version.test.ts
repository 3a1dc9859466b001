import { expect, test } from "bun:test";
import { isIP } from "node:net";
import fc from "fast-check";
import { ipVersion } from "../../src/net/ip-version.ts";

test.each([
  ["10.0.0.1", 4],
  ["255.255.255.255", 4],
  ["256.0.0.1", 0],
  ["01.2.3.4", 0],
  ["1.2.3", 0],
  ["1.2.3.4.", 0],
  ["1.2.3.4.5", 0],
  ["::", 6],
  ["fd00::1", 6],
  ["::ffff:10.0.0.1", 6],
  ["::10.0.0.01", 0],
  ["1::2::3", 0],
  ["1:2:3:4:5:6:7::", 6],
  ["12345::", 0],
  ["fe80::1%eth0", 6],
  ["fe80::1%", 0],
  ["10.0.0.1%eth0", 0],
  ["[::1]", 0],
  ["", 0],
] as const)("%p has version %d", (text, version) => {
  expect(ipVersion(text)).toBe(version);
  expect(isIP(text)).toBe(version);
});

test("it agrees with node:net", () => {
  const part = fc.constantFrom(
    ":",
    "::",
    ".",
    "0",
    "1",
    "25",
    "255",
    "256",
    "01",
    "a",
    "ffff",
    "g",
    "%",
    "/",
    " ",
  );
  const text = fc.oneof(
    fc.array(part, { maxLength: 16 }).map(it => it.join("")),
    fc.ipV4(),
    fc.ipV6(),
  );
  fc.assert(
    fc.property(text, it => ipVersion(it) === isIP(it)),
    { numRuns: 20_000 },
  );
});
