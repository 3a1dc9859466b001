/**
 * A program for Pods, and for servers outside of the cluster. The image of ipmasq runs it, because its binary contains
 * Bun.
 *
 *     traffic.js serve PORT                       tells each client the address that it comes from
 *     traffic.js flood RATE SECONDS HOST:PORT…    opens RATE connections a second, spread evenly over the servers
 *
 * `flood` prints the word "started", and at the end the counts as JSON: of each server, by the address that it saw, or
 * by the error. It ends earlier if its standard input ends.
 */
export {};

const [, , mode, ...words] = process.argv;
if (mode === "serve") serve(Number(words[0]));
else if (mode === "flood") await flood(Number(words[0]), Number(words[1]), words.slice(2));
else throw new Error(`unknown mode "${mode}"`);

function serve(port: number): void {
  const open = (socket: Bun.Socket) => {
    socket.end(`${socket.remoteAddress.replace(/^::ffff:/, "")}\n`);
  };
  Bun.listen({ hostname: "::", port, socket: { open, data() {}, error() {} } });
  process.stdout.write(`serving ${port}\n`);
}

async function flood(rate: number, seconds: number, servers: readonly string[]): Promise<void> {
  const counts: Record<string, Record<string, number>> = {};
  const pending = new Set<Promise<void>>();
  const began = performance.now();
  let stopped = false;
  void endOfInput().then(() => {
    stopped = true;
  });
  process.stdout.write("started\n");
  for (let sent = 0; !stopped; await Bun.sleep(2)) {
    const elapsed = (performance.now() - began) / 1000;
    if (elapsed > seconds) break;
    for (; sent < elapsed * rate; sent++) {
      const server = servers[sent % servers.length] ?? "";
      const one = seenBy(server).then(seen => {
        const addresses = counts[server] ?? {};
        counts[server] = { ...addresses, [seen]: (addresses[seen] ?? 0) + 1 };
        pending.delete(one);
      });
      pending.add(one);
    }
  }
  await Promise.all(pending);
  process.stdout.write(`${JSON.stringify(counts)}\n`);
  process.exit();
}

async function endOfInput(): Promise<void> {
  for await (const _ of Bun.stdin.stream());
}

/** The address that the server sees, or the error. A lost SYN is sent again after a second. */
function seenBy(server: string): Promise<string> {
  const [, hostname = "", port] = /^\[?(.*?)\]?:(\d+)$/.exec(server) ?? [];
  const { promise, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(resolve, 5000, "timeout");
  let seen = "";
  const socket = {
    data: (_: unknown, bytes: Buffer) => {
      seen += bytes.toString();
    },
    close: () => resolve(seen.trim() || "closed"),
    error: (_: unknown, error: Error) => resolve(error.message),
    connectError: (_: unknown, error: Error) => resolve(error.message),
  };
  Bun.connect({ hostname, port: Number(port), socket }).catch(error => resolve(String(error)));
  return promise.finally(() => clearTimeout(timer));
}
