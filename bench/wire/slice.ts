import * as v from "valibot";

/** How a flow begins: with a datagram of a UDP socket, or with a frame for UDP or TCP on a packet socket. */
export const SENDERS = ["udp", "tcp", "socket"] as const;
export type Sender = (typeof SENDERS)[number];

/** What a sender is asked for: new flows on one path, as fast as they go. */
export const Order = v.object({
  interface: v.string(),
  sender: v.picklist(SENDERS),
  way: v.object({
    sourceMac: v.string(),
    gatewayMac: v.string(),
    source: v.string(),
    destination: v.string(),
  }),
  /** It ends after so many flows, or so many milliseconds. */
  flows: v.number(),
  limit: v.number(),
});
export type Order = v.InferOutput<typeof Order>;

/** What it answers: how many it sent, and the milliseconds that passed and that it was on its core. */
export const Slice = v.object({ sent: v.number(), took: v.number(), cpu: v.number() });
export type Slice = v.InferOutput<typeof Slice>;
