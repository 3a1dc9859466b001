import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { output } from "../../lab/output.ts";
import type { HttpLimits } from "../../src/observe/http-limits.ts";
import type { HttpRequest } from "../../src/observe/http-request.ts";
import { type HttpResponse, textResponse } from "../../src/observe/http-response.ts";
import { HttpServer } from "../../src/observe/http-server.ts";
import type { Body } from "../../src/observe/shared-body.ts";

const LIMITS: HttpLimits = {
  connections: 20,
  requestTimeout: 60_000,
  responseTimeout: 60_000,
  sendBytes: 4 * 1024 * 1024,
  stallTimeout: 50,
};
/** More than the kernel buffers for a client that does not read. */
const LONG: Body = {
  parts: Array.from({ length: 160 }, () => Buffer.alloc(65_536, "a")),
  length: 160 * 65_536,
};

let server: HttpServer | undefined;
/** Internal errors of the server. */
let failures: string[] = [];
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.stop();
});

/** A server with these limits. It never responds to /never, and fails at /boom. */
function serve(limits: Partial<HttpLimits> = {}): void {
  const routes: Readonly<Record<string, HttpResponse | Promise<HttpResponse>>> = {
    "/ok": textResponse(200, "ok"),
    "/long": { status: 200, headers: {}, body: LONG },
    "/never": new Promise<HttpResponse>(() => {}),
  };
  const listen = { address: "127.0.0.1", port: 0 };
  const handle = ({ path }: HttpRequest) => {
    if (path === "/boom") throw new Error("boom");
    return routes[path] ?? textResponse(404, "no");
  };
  failures = [];
  server = new HttpServer(listen, handle, error => failures.push(`${error}`), { ...LIMITS, ...limits });
}

function open(text = "", localAddress = "127.0.0.1"): Socket {
  const port = Number(server?.address.split(":")[1]);
  const socket = connect({ host: "127.0.0.1", port, localAddress });
  sockets.push(socket.on("error", () => {}));
  socket.write(text);
  return socket;
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** The bytes that a client gets until it has the whole response or the connection is closed. */
async function response(socket: Socket): Promise<string> {
  const parts: Buffer[] = [];
  let left = Number.POSITIVE_INFINITY;
  socket.on("data", (data: Buffer) => {
    parts.push(data);
    const head = /content-length: (\d+)[\s\S]*?\r\n\r\n/.exec(
      parts.length === 1 ? data.toString("latin1") : "",
    );
    if (head) left = Number(head[1]) + head.index + head[0].length;
    left -= data.length;
    if (left <= 0) socket.end();
  });
  await closed(socket);
  return Buffer.concat(parts).toString("latin1");
}

/** Resolves when the connection is closed or reset. */
function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise(resolve => (socket.closed ? resolve() : socket.on("close", () => resolve())));
}

/** A client that requests a path and reads nothing. */
async function stalled(path: string): Promise<Socket> {
  const socket = open(get(path));
  socket.pause();
  await once(socket, "connect");
  return socket;
}

async function length(text: Promise<string>): Promise<number> {
  return (await text).split("\r\n\r\n")[1]?.length ?? 0;
}

test("a response has a date, its length, and closes the connection", async () => {
  serve();
  const [head = "", body] = (await response(open(get("/ok")))).split("\r\n\r\n");
  expect(head.replace(/date: .* GMT/, "date: …").split("\r\n")).toEqual([
    "HTTP/1.1 200 OK",
    "date: …",
    "content-type: text/plain; charset=utf-8",
    "content-length: 3",
    "connection: close",
  ]);
  expect(body).toBe("ok\n");
});

test("an internal error closes the connection and is reported", async () => {
  serve();
  expect(await response(open(get("/boom")))).toBe("");
  expect(failures).toEqual(["Error: boom"]);
  expect(await response(open(get("/ok")))).toContain("200 OK");
});

test("HEAD returns the head of GET without a body", async () => {
  serve();
  const text = await response(open(get("/long").replace("GET", "HEAD")));
  expect(text).toContain(`content-length: ${LONG.length}\r\n`);
  expect(text).toEndWith("\r\n\r\n");
});

test.each([
  ["in one piece", async (socket: Socket) => void socket.write(get("/ok"))],
  [
    "byte by byte",
    async (socket: Socket) => {
      for (const byte of get("/ok")) {
        socket.write(byte);
        await new Promise(setImmediate);
      }
    },
  ],
  ["followed by more requests", async (socket: Socket) => void socket.write(get("/ok").repeat(2000))],
  ["from a client that closes its side", async (socket: Socket) => void socket.end(get("/ok"))],
])("a request %s gets one response", async (_how, send) => {
  serve();
  const socket = open();
  const text = response(socket);
  await send(socket);
  expect((await text).match(/HTTP\/1\.1 200 OK/g)).toHaveLength(1);
});

test("a client that closes its side gets all of a long response", async () => {
  serve();
  const socket = open();
  const got = length(response(socket));
  socket.end(get("/long"));
  expect(await got).toBe(LONG.length);
});

test.each([
  ["sends nothing", "", { requestTimeout: 100 }],
  ["does not finish its request", "GET /ok HTTP/1.1\r\n", { requestTimeout: 100 }],
  ["waits for a response that does not come", get("/never"), { responseTimeout: 100 }],
])("a client that %s is disconnected at the deadline", async (_who, text, limits) => {
  serve(limits);
  const began = performance.now();
  expect(await response(open(text))).toBe("");
  expect(performance.now() - began).toBeWithin(100, 3000);
});

test("a client that reads nothing is disconnected at the deadline", async () => {
  serve({ responseTimeout: 300 });
  const socket = await stalled("/long");
  await Bun.sleep(600);
  expect(await length(response(socket))).toBeLessThan(LONG.length); // only the data that was already sent
});

test("at the limit, a new connection replaces the oldest", async () => {
  serve();
  const first = open();
  await once(first, "connect");
  const others = Array.from({ length: 300 }, () => open("GET /ok HTTP/1.1\r\n"));
  const gone = closed(first);
  for (let i = 0; i < 10; i++) expect(await response(open(get("/ok")))).toContain("200 OK");
  await gone;
  await until(() => others.filter(socket => !socket.closed).length <= 20);
  expect(others.slice(0, 250).filter(socket => !socket.closed)).toEqual([]);
  expect(others.slice(-10).filter(socket => socket.closed)).toEqual([]);
});

test("a client with few connections keeps them while another opens many", async () => {
  await output(["ip", "address", "add", "192.0.2.77/32", "dev", "lo"]);
  serve();
  const other = open("GET /ok HTTP/1.1\r\n", "192.0.2.77");
  await once(other, "connect");
  const flood = Array.from({ length: 100 }, () => open());
  await until(() => flood.filter(socket => !socket.closed).length <= 20);
  other.write("Host: a\r\n\r\n");
  expect(await response(other)).toContain("200 OK");
  await output(["ip", "address", "delete", "192.0.2.77/32", "dev", "lo"]);
});

test("clients that do not read do not block long responses to others", async () => {
  serve({ stallTimeout: 500 });
  await Promise.all(Array.from({ length: 10 }, () => stalled("/long")));
  expect(await length(response(open(get("/long"))))).toBe(LONG.length);
  expect(await response(open(get("/ok")))).toContain("200 OK");
});

test("ten clients that read at the same time all get a complete response", async () => {
  serve({ stallTimeout: 60_000 });
  const all = Array.from({ length: 10 }, () => length(response(open(get("/long")))));
  expect(await Promise.all(all)).toEqual(all.map(() => LONG.length));
});

test("an outdated body is dropped although a client still reads it", async () => {
  serve();
  const slow = await stalled("/long");
  await Bun.sleep(100); // until its response has started
  server?.drop(LONG);
  expect(await length(response(slow))).toBeLessThan(LONG.length);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(2);
}
