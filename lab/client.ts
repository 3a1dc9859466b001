/** The program in the Pod: sends tokens to servers, each over a separate connection. */
import { connect } from "node:net";
import * as v from "valibot";
import { messageOf } from "../src/system/errors.ts";
import { Attempt, type Refusal } from "./message.ts";
import { SECONDS } from "./timeouts.ts";
import { familyOf } from "./topology.ts";

/** UDP source ports are used in turn: conntrack gives a known pair of ports its old verdict. */
const [FIRST_PORT, LAST_PORT] = [10_000, 29_999];
let nextPort = FIRST_PORT;

process.on("message", async (message: unknown) => {
  const attempt = v.parse(Attempt, message);
  try {
    await (attempt.protocol === "tcp" ? sendByTcp(attempt) : sendByUdp(attempt));
  } catch (error) {
    process.send?.({ token: attempt.token, reason: messageOf(error) } satisfies Refusal);
  }
});
process.on("disconnect", () => process.exit());

function sendByTcp({ token, to, port, from, isOpen = false }: Attempt): Promise<void> {
  return new Promise((resolve, reject) => {
    const own = from === undefined ? {} : { localAddress: from };
    const socket = connect({ host: to, port, allowHalfOpen: isOpen, ...own });
    socket.on("connect", () => socket.write(token));
    socket.on("data", () => {});
    socket.on("error", reject);
    socket.on("close", () => resolve());
    if (!isOpen) socket.setTimeout(1000 * SECONDS, () => socket.destroy());
  });
}

async function sendByUdp({ token, to, port, from }: Attempt): Promise<void> {
  const hostname = from ?? (familyOf(to) === "ip" ? "0.0.0.0" : "::");
  const ownPort = nextPort;
  nextPort = ownPort === LAST_PORT ? FIRST_PORT : ownPort + 1;
  const socket = await Bun.udpSocket({ hostname, port: ownPort });
  try {
    if (!socket.send(token, port, to)) throw new Error("the datagram was not sent");
  } finally {
    socket.close();
  }
}
