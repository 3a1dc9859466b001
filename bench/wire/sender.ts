/** The program in the namespace of the Pods: sends new flows at full speed on one core. */
import * as v from "valibot";
import { Frames } from "./frames.ts";
import { PacketSocket } from "./packet-socket.ts";
import { Order, type Slice } from "./slice.ts";

/** More would overshoot the time limit where a flow takes 1 ms; fewer would cost system calls. */
const AT_ONCE = 16;

process.on("message", async (message: unknown) => process.send?.(await send(v.parse(Order, message))));
process.on("disconnect", () => process.exit());

async function send(order: Order): Promise<Slice> {
  const sendFrom = await (order.sender === "socket" ? datagrams(order) : frames(order));
  const began = performance.now();
  const before = process.cpuUsage();
  let sent = 0;
  let took = 0;
  while (sent < order.flows && took < order.limit) {
    sent += sendFrom(sent);
    took = performance.now() - began;
  }
  const { user, system } = process.cpuUsage(before);
  return { sent, took, cpu: (user + system) / 1000 };
}

/** Sends AT_ONCE flows, numbered from `first`, and returns the number that was sent. */
type Send = (first: number) => number;

const packetSockets = new Map<string, PacketSocket>();

function frames({ interface: name, sender, addresses }: Order): Send {
  const socket = packetSockets.get(name) ?? new PacketSocket(name);
  packetSockets.set(name, socket);
  const frames = new Frames(sender === "tcp" ? "tcp" : "udp", addresses, AT_ONCE);
  const prepared = socket.prepare(frames);
  return first => {
    for (let i = 0; i < AT_ONCE; i++) frames.setFlow(i, first + i);
    return socket.send(prepared, AT_ONCE);
  };
}

const udpSockets = new Map<string, Bun.udp.Socket<"buffer">>();
const NOTHING = new Uint8Array(0);

/** Sends with one socket, so at most as many flows as there are ports. */
async function datagrams({ addresses: { source, destination } }: Order): Promise<Send> {
  const socket = udpSockets.get(source) ?? (await Bun.udpSocket({ hostname: source }));
  udpSockets.set(source, socket);
  return first => {
    const packets: (Uint8Array | number | string)[] = [];
    for (let i = 0; i < AT_ONCE; i++) packets.push(NOTHING, 1 + first + i, destination);
    return socket.sendMany(packets);
  };
}
