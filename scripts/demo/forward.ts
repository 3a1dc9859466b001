/** Forwards connections: `bun scripts/demo/forward.ts SOCKET PORT` from a Unix socket to a port of 127.0.0.1. */
import { connect, createServer, type ListenOptions, type NetConnectOpts, type Server } from "node:net";
import { Lines } from "../../lab/lines.ts";
import type { Namespace } from "../../lab/namespace.ts";

/**
 * Forwards all connections at one place to another until the server is closed.
 *
 * @throws Error if it cannot listen, for example because the port is taken
 */
export function forward(from: ListenOptions, to: NetConnectOpts): Promise<Server> {
  const server = createServer(client => {
    const target = connect(to);
    client.on("error", () => target.destroy());
    target.on("error", () => client.destroy());
    client.pipe(target).pipe(client);
  });
  return new Promise((resolve, reject) => server.on("error", reject).listen(from, () => resolve(server)));
}

/** Forwards connections from a Unix socket to the agent's HTTP port in a namespace, until the program is killed. */
export async function forwardInto(place: Namespace, socket: string): Promise<Bun.Subprocess> {
  const program = place.spawn([process.execPath, import.meta.path, socket, "9469"]);
  await new Lines(program.stdout).until("listening");
  return program;
}

if (import.meta.main) {
  const [path = "", port] = process.argv.slice(2);
  await forward({ path }, { host: "127.0.0.1", port: Number(port) });
  process.stdout.write("listening\n");
}
