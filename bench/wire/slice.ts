import * as v from "valibot";

/** A flow starts with a UDP or TCP frame on a packet socket, or with a datagram of a UDP socket. */
export const SENDERS = ["udp", "tcp", "socket"] as const;
export type Sender = (typeof SENDERS)[number];

/** To the sender: send new flows on one path at full speed. */
export const Order = v.object({
  interface: v.string(),
  sender: v.picklist(SENDERS),
  addresses: v.object({
    sourceMac: v.string(),
    gatewayMac: v.string(),
    source: v.string(),
    destination: v.string(),
  }),
  /** The sender stops after this number of flows or ms. */
  flows: v.number(),
  limit: v.number(),
});
export type Order = v.InferOutput<typeof Order>;

/** From the sender: the flows sent, the elapsed time and its CPU time in ms. */
export const Slice = v.object({ sent: v.number(), took: v.number(), cpu: v.number() });
export type Slice = v.InferOutput<typeof Slice>;
