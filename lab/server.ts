/** The program in a server namespace: reports the source of each token that it receives. */
import { createServer } from "node:net";
import * as v from "valibot";
import { Listen, type Report } from "./message.ts";

process.on("message", async (message: unknown) => {
  const { port } = v.parse(Listen, message);
  await Promise.all([listenTcp(port), listenUdp(port)]);
  report({ listening: port });
});
process.on("disconnect", () => process.exit());

/** Ending the stream answers the client, which proves that the return path works. */
function listenTcp(port: number): Promise<void> {
  const server = createServer(socket => {
    const { remoteAddress = "", remotePort = 0 } = socket;
    socket.on("data", token => {
      report({ token: token.toString(), source: unmapped(remoteAddress), port: remotePort });
      socket.end();
    });
    socket.on("error", () => socket.destroy());
  });
  return new Promise((resolve, reject) => server.on("error", reject).listen(port, "::", resolve));
}

async function listenUdp(port: number): Promise<void> {
  const data = (_socket: unknown, token: Buffer, sourcePort: number, source: string) =>
    report({ token: token.toString(), source: unmapped(source), port: sourcePort });
  await Bun.udpSocket({ hostname: "::", port, socket: { data } });
}

/** A socket for both families shows IPv4 addresses as ::ffff:192.0.2.1. */
function unmapped(address: string): string {
  return address.replace(/^::ffff:/, "");
}

function report(message: Report): void {
  process.send?.(message);
}
