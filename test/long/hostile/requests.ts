import { connect, type Socket } from "node:net";

/** A malicious use of HTTP. */
export interface Attack {
  readonly name: string;
  run(url: URL): Promise<Outcome>;
}

interface Outcome {
  readonly requests: number;
  /** The number of responses per status, and of connections that were closed without a response. */
  readonly answers: string;
}

const MIB = 1024 * 1024;
const GET = "GET / HTTP/1.1\r\nHost: a\r\n";

export const ATTACKS: readonly Attack[] = [
  raw("200 connections that send nothing", 200, async () => {}),
  raw("200 requests, one line per second", 200, async socket => {
    socket.write(GET);
    while (!socket.closed) {
      await Bun.sleep(1000);
      socket.write("a: b\r\n");
    }
  }),
  raw("50 requests with headers of 8 MiB", 50, async socket => {
    socket.write(`${GET}${`a: ${"b".repeat(1000)}\r\n`.repeat(8192)}\r\n`);
  }),
  raw("50 requests for a path of 1 MiB", 50, async socket => {
    socket.write(`GET /${"a".repeat(MIB)} HTTP/1.1\r\nHost: a\r\n\r\n`);
  }),
  raw("20 requests with bodies of 64 MiB", 20, async socket => {
    socket.write(`POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: ${64 * MIB}\r\n\r\n`);
    const part = Buffer.alloc(MIB, "a");
    for (let i = 0; i < 64 && !socket.closed; i++) await written(socket, part);
  }),
  raw("20 endless chunked bodies", 20, async socket => {
    socket.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    const chunk = Buffer.from(`10000\r\n${"a".repeat(65_536)}\r\n`);
    for (let i = 0; i < 1000 && !socket.closed; i++) await written(socket, chunk);
  }),
  raw("300 malformed requests", 300, async (socket, i) => {
    socket.write(BROKEN[i % BROKEN.length] ?? "");
  }),
  {
    name: "10,000 requests for all paths, 50 at a time",
    async run(url) {
      const statuses: string[] = [];
      const paths = ["/", "/metrics", "/status", "/healthz", "/readyz", "/none", "/%00", "/../../etc/passwd"];
      const client = async () => {
        for (let i = 0; i < 200; i++) {
          const answer = await fetch(new URL(paths[i % paths.length] ?? "/", url)).catch(() => undefined);
          await answer?.arrayBuffer();
          statuses.push(answer ? `${answer.status}` : "none");
        }
      };
      await Promise.all(Array.from({ length: 50 }, client));
      return { requests: statuses.length, answers: counted(statuses) };
    },
  },
];

const BROKEN: readonly (string | Buffer)[] = [
  "\r\n\r\n\r\n\r\n",
  "GET\r\n\r\n",
  "GET / HTTP/9.9\r\n\r\n",
  "GET / HTTP/1.1\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  `${GET}Content-Length: -1\r\n\r\n`,
  `${GET}Content-Length: 99999999999999999999\r\n\r\n`,
  `${GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  `${GET}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n`,
  `${GET}a\0b: c\r\n\r\n`,
  `${GET} folded: x\r\n\r\n`,
  "GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET //// HTTP/1.1\r\nHost: [\r\n\r\n",
  "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
  `${GET}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n`,
  `${GET}\r\n`.repeat(500),
  Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
  Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919) % 256)),
];

/** Opens connections together and sends on each; ends when all are closed, or after 15 s. */
function raw(name: string, count: number, send: (socket: Socket, i: number) => Promise<void>): Attack {
  return {
    name,
    async run({ port, hostname }) {
      const answers = await Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const socket = connect(Number(port), hostname);
          let got = "";
          socket.on("data", data => {
            if (got.length < 100) got += data.toString("latin1");
          });
          socket.on("error", () => {}); // a reset counts as a response
          const closed = new Promise(resolve => socket.on("close", resolve));
          void send(socket, i).catch(() => {});
          await Promise.race([closed, Bun.sleep(15_000)]);
          const open = !socket.closed;
          socket.destroy();
          return /^HTTP\/1\.1 (\d+)/.exec(got)?.[1] ?? (open ? "left open" : "closed");
        }),
      );
      return { requests: count, answers: counted(answers) };
    },
  };
}

async function written(socket: Socket, data: Buffer): Promise<void> {
  if (socket.write(data)) return;
  const over = new Promise(resolve => socket.once("drain", resolve));
  await Promise.race([over, Bun.sleep(1000)]);
}

function counted(answers: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const it of answers) counts.set(it, (counts.get(it) ?? 0) + 1);
  return [...counts]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([answer, count]) => `${count} × ${answer}`)
    .join(", ");
}
