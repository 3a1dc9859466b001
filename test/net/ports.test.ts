import { expect, test } from "bun:test";
import { formatPortRange, parsePortRanges, portCount } from "../../src/net/ports.ts";

test.each([
  ["1024-29999,32768-65535", "1024-29999 32768-65535", 61_744],
  ["32768-65535,1024-29999", "1024-29999 32768-65535", 61_744],
  ["8080", "8080", 1],
  ["1-65535", "1-65535", 65_535],
  ["5-5,7,6", "5 6 7", 3],
  ["80-90,90-100", "80-100", 21],
  ["90-100,80-95,1,81", "1 80-100", 22],
  ["42,42", "42", 1],
])("%s", (text, ranges, count) => {
  const parsed = parsePortRanges(text);
  if ("what" in parsed) throw new Error(parsed.what);
  expect(parsed.map(formatPortRange).join(" ")).toBe(ranges);
  expect(portCount(parsed)).toBe(count);
});

const WRITE = 'write ports from 1 to 65535, for example "1024-29999,32768-65535"';
test.each([
  ["", '"" is not a port or port range', WRITE],
  ["0-10", '"0-10" is not a port or port range', WRITE],
  ["65536", '"65536" is not a port or port range', WRITE],
  ["1024-", '"1024-" is not a port or port range', WRITE],
  ["1024:2048", '"1024:2048" is not a port or port range', WRITE],
  ["80, 443", '" 443" is not a port or port range', WRITE],
  ["80,", '"" is not a port or port range', WRITE],
  ["2048-1024", '"2048-1024" ends before it starts', 'did you mean "1024-2048"?'],
])("%p is refused", (text, what, remedy) => {
  expect(parsePortRanges(text)).toEqual({ what, remedy });
});
