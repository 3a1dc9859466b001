/** The program of a server namespace: tells the lab from where each token came that it was sent. */
import { createServer } from "node:net";
import * as v from "valibot";
import { Listen, type Listening, type Sighting } from "./message.ts";

process.on("message", async (message: unknown) => {
  const { port } = v.parse(Listen, message);
  await Promise.all([listenTcp(port), listenUdp(port)]);
  tell({ listening: port });
});
process.on("disconnect", () => process.exit());

/** The answer, an end of the stream, shows the client that the way back works too. */
function listenTcp(port: number): Promise<void> {
  const server = createServer(socket => {
    const { remoteAddress = "", remotePort = 0 } = socket;
    socket.on("data", token => {
      tell({ token: token.toString(), source: unmapped(remoteAddress), port: remotePort });
      socket.end();
    });
    socket.on("error", () => socket.destroy());
  });
  return new Promise((resolve, reject) => server.on("error", reject).listen(port, "::", resolve));
}

async function listenUdp(port: number): Promise<void> {
  await Bun.udpSocket({
    hostname: "::",
    port,
    socket: {
      data: (_socket, token, sourcePort, source) =>
        tell({ token: token.toString(), source: unmapped(source), port: sourcePort }),
    },
  });
}

/** A socket that serves both families shows an IPv4 address as ::ffff:192.0.2.1. */
function unmapped(address: string): string {
  return address.replace(/^::ffff:/, "");
}

function tell(message: Listening | Sighting): void {
  process.send?.(message);
}
