import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseRequest } from "../../src/observe/http-request.ts";

const HOST = "\r\nHost: a\r\n\r\n";

test.each([
  [`GET /metrics HTTP/1.1${HOST}`, { method: "GET", path: "/metrics" }],
  [`HEAD / HTTP/1.1${HOST}`, { method: "HEAD", path: "/" }],
  ["GET /healthz HTTP/1.0\r\n\r\n", { method: "GET", path: "/healthz" }],
  [`\r\nGET /a?b=/c?d HTTP/1.1${HOST}`, { method: "GET", path: "/a" }],
  [`GET /%2e%2e/etc/passwd HTTP/1.1${HOST}`, { method: "GET", path: "/%2e%2e/etc/passwd" }],
  [`GET http://node:9469/status HTTP/1.1${HOST}`, { method: "GET", path: "/status" }],
  [`GET http://[::1]:9469 HTTP/1.1${HOST}`, { method: "GET", path: "/" }],
  ["GET / HTTP/1.1\r\nhost: [::1]:9469\r\nA:\tb\r\n\r\n", { method: "GET", path: "/" }],
  ["GET / HTTP/1.1\r\nHost:\r\n\r\n", { method: "GET", path: "/" }],
  ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", { method: "POST", path: "/" }],
  [`GET / HTTP/1.1${HOST}GET /2 HTTP/1.1${HOST}`, { method: "GET", path: "/" }],
])("%j is accepted", (text, request) => {
  expect(parseRequest(Buffer.from(text, "latin1"))).toEqual(request);
});

test.each([
  ["GET\r\n\r\n", 400],
  ["GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
  [`GET  / HTTP/1.1${HOST}`, 400],
  [`GET / HTTP/1.1 ${HOST}`, 400],
  [`GET /\u00e4 HTTP/1.1${HOST}`, 400],
  [`GET metrics HTTP/1.1${HOST}`, 400],
  [`GET /#a HTTP/1.1${HOST}`, 400],
  ["GET / HTTP/1.1\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: [\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400],
  ["GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nb : c\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nb\0: c\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nb: c\0\r\n\r\n", 400],
  ["GET / HTTP/1.1\nHost: a\n\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413],
  ["GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413],
  ["\x16\x03\x01\x02\x00\x01", 400],
  [`GET /${"a".repeat(9000)}`, 431],
  [`GET / HTTP/1.1\r\n${"a: b\r\n".repeat(2000)}`, 431],
  [`GET / HTTP/1.1\r\nHost: a\r\n${"a: b\r\n".repeat(1400)}\r\n`, 431],
])("%j is refused with %d", (text, status) => {
  expect(parseRequest(Buffer.from(text, "latin1"))).toMatchObject({ status, why: expect.any(String) });
});

test("an incomplete request is neither accepted nor refused", () => {
  const text = `GET /metrics HTTP/1.1\r\nHost: node:9469\r\nAccept: */*\r\n\r\n`;
  for (let i = 0; i < text.length; i++) expect(parseRequest(Buffer.from(text.slice(0, i)))).toBeUndefined();
  expect(parseRequest(Buffer.from(text))).toEqual({ method: "GET", path: "/metrics" });
});

test("any bytes are accepted, refused or incomplete", () => {
  const pieces = fc.constantFrom(
    "GET ",
    "/",
    " HTTP/1.1",
    "\r\n",
    "\n",
    "Host: a",
    ": ",
    "\0",
    "\xff",
    "http://",
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(pieces, fc.string())), words => {
      const result = parseRequest(Buffer.from(words.join(""), "latin1"));
      expect(result === undefined || "why" in result || result.path.startsWith("/")).toBe(true);
    }),
  );
});
