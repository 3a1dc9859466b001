import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { output } from "../../lab/output.ts";
import type { HttpRequest } from "../../src/observe/http-request.ts";
import { type Answer, HttpServer, type Limits, plain } from "../../src/observe/http-server.ts";
import type { Body } from "../../src/observe/shared-body.ts";

const LIMITS: Limits = {
  connections: 20,
  request: 60_000,
  answer: 60_000,
  bytes: 4 * 1024 * 1024,
  patience: 50,
};
/** More than the kernel takes for one client that does not read. */
const LONG: Body = {
  parts: Array.from({ length: 160 }, () => Buffer.alloc(65_536, "a")),
  length: 160 * 65_536,
};

let server: HttpServer | undefined;
/** What the server says that went wrong. */
let failures: string[] = [];
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.stop();
});

/** A server with these limits, that knows /ok and /long and forgets to answer /never. */
function serve(limits: Partial<Limits> = {}): void {
  const routes: Readonly<Record<string, Answer | Promise<Answer>>> = {
    "/ok": plain(200, "ok"),
    "/long": { status: 200, headers: {}, body: LONG },
    "/never": new Promise<Answer>(() => {}),
  };
  const listen = { address: "127.0.0.1", port: 0 };
  const handle = ({ path }: HttpRequest) => {
    if (path === "/boom") throw new Error("boom");
    return routes[path] ?? plain(404, "no");
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

/** What a client gets, until it has the whole answer or the connection is closed. */
async function answer(socket: Socket): Promise<string> {
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

/** A reset is a close too. */
function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise(resolve => (socket.closed ? resolve() : socket.on("close", () => resolve())));
}

/** Reads nothing. */
async function stalled(path: string): Promise<Socket> {
  const socket = open(get(path));
  socket.pause();
  await once(socket, "connect");
  return socket;
}

async function length(text: Promise<string>): Promise<number> {
  return (await text).split("\r\n\r\n")[1]?.length ?? 0;
}

test("an answer has its length, its date, and an end", async () => {
  serve();
  const [head = "", body] = (await answer(open(get("/ok")))).split("\r\n\r\n");
  expect(head.replace(/date: .* GMT/, "date: …").split("\r\n")).toEqual([
    "HTTP/1.1 200 OK",
    "date: …",
    "content-type: text/plain; charset=utf-8",
    "content-length: 3",
    "connection: close",
  ]);
  expect(body).toBe("ok\n");
});

test("what goes wrong in the server ends that connection, and is told", async () => {
  serve();
  expect(await answer(open(get("/boom")))).toBe("");
  expect(failures).toEqual(["Error: boom"]);
  expect(await answer(open(get("/ok")))).toContain("200 OK");
});

test("HEAD has the head of GET and no body", async () => {
  serve();
  const text = await answer(open(get("/long").replace("GET", "HEAD")));
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
  ["followed by others", async (socket: Socket) => void socket.write(get("/ok").repeat(2000))],
  ["by one who sends no more", async (socket: Socket) => void socket.end(get("/ok"))],
])("a request that comes %s has one answer", async (_how, send) => {
  serve();
  const socket = open();
  const text = answer(socket);
  await send(socket);
  expect((await text).match(/HTTP\/1\.1 200 OK/g)).toHaveLength(1);
});

test("a client that has sent its last byte gets all of a long answer", async () => {
  serve();
  const socket = open();
  const got = length(answer(socket));
  socket.end(get("/long"));
  expect(await got).toBe(LONG.length);
});

test.each([
  ["says nothing", "", { request: 100 }],
  ["never ends its request", "GET /ok HTTP/1.1\r\n", { request: 100 }],
  ["waits for an answer that does not come", get("/never"), { answer: 100 }],
])("a client that %s is let go in time", async (_who, text, limits) => {
  serve(limits);
  const began = performance.now();
  expect(await answer(open(text))).toBe("");
  expect(performance.now() - began).toBeWithin(100, 3000);
});

test("a client that reads nothing is let go in time", async () => {
  serve({ answer: 300 });
  const socket = await stalled("/long");
  await Bun.sleep(600);
  expect(await length(answer(socket))).toBeLessThan(LONG.length); // it has no more than what was on its way
});

test("a full house lets in whoever comes, at the expense of the oldest", async () => {
  serve();
  const first = open();
  await once(first, "connect");
  const others = Array.from({ length: 300 }, () => open("GET /ok HTTP/1.1\r\n"));
  const gone = closed(first);
  for (let i = 0; i < 10; i++) expect(await answer(open(get("/ok")))).toContain("200 OK");
  await gone;
  await until(() => others.filter(socket => !socket.closed).length <= 20);
  expect(others.slice(0, 250).filter(socket => !socket.closed)).toEqual([]);
  expect(others.slice(-10).filter(socket => socket.closed)).toEqual([]);
});

test("who has few connections keeps them, whoever else opens many", async () => {
  await output(["ip", "address", "add", "192.0.2.77/32", "dev", "lo"]);
  serve();
  const other = open("GET /ok HTTP/1.1\r\n", "192.0.2.77");
  await once(other, "connect");
  const flood = Array.from({ length: 100 }, () => open());
  await until(() => flood.filter(socket => !socket.closed).length <= 20);
  other.write("Host: a\r\n\r\n");
  expect(await answer(other)).toContain("200 OK");
  await output(["ip", "address", "delete", "192.0.2.77/32", "dev", "lo"]);
});

test("clients that do not read keep nobody from a long answer", async () => {
  serve({ patience: 500 });
  await Promise.all(Array.from({ length: 10 }, () => stalled("/long")));
  expect(await length(answer(open(get("/long"))))).toBe(LONG.length);
  expect(await answer(open(get("/ok")))).toContain("200 OK");
});

test("ten who read at once all get everything", async () => {
  serve({ patience: 60_000 });
  const all = Array.from({ length: 10 }, () => length(answer(open(get("/long")))));
  expect(await Promise.all(all)).toEqual(all.map(() => LONG.length));
});

test("a body that is outdated is kept for nobody", async () => {
  serve();
  const slow = await stalled("/long");
  await Bun.sleep(100); // its answer has begun
  server?.drop(LONG);
  expect(await length(answer(slow))).toBeLessThan(LONG.length);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(2);
}
