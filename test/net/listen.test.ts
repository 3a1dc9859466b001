import { expect, test } from "bun:test";
import { formatListen, parseListen } from "../../src/net/listen.ts";

test.each([
  ["127.0.0.1:9469", { address: "127.0.0.1", port: 9469 }],
  ["0.0.0.0:80", { address: "0.0.0.0", port: 80 }],
  ["[::1]:9469", { address: "::1", port: 9469 }],
  [":9469", { address: "", port: 9469 }],
  ["127.0.0.1:0", { address: "127.0.0.1", port: 0 }],
])("%s", (text, listen) => {
  expect(parseListen(text)).toEqual(listen);
  expect(formatListen(listen)).toBe(text);
});

test("an empty text means nowhere", () => {
  expect(parseListen("")).toBe("nowhere");
});

test.each([
  "9469",
  "127.0.0.1",
  "localhost:9469",
  "::1:9469",
  "[127.0.0.1]:1",
  "1.2.3.4:65536",
  "1.2.3:1",
  "[]:1",
  ":",
])("%s is refused", text => {
  expect(parseListen(text)).toEqual({
    what: `"${text}" is not an address and port`,
    remedy: 'write, for example, "127.0.0.1:9469", "[::1]:9469" or ":9469"',
  });
});
