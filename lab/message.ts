import * as v from "valibot";

/** What the lab asks of the client in the Pod: to send the token over a connection of its own. */
export const Attempt = v.object({
  token: v.string(),
  protocol: v.picklist(["tcp", "udp"]),
  to: v.string(),
  port: v.number(),
  from: v.optional(v.string()),
});
export type Attempt = v.InferOutput<typeof Attempt>;

/** What the client answers if it cannot. */
export const Refusal = v.object({ token: v.string(), reason: v.string() });
export type Refusal = v.InferOutput<typeof Refusal>;

/** What the lab asks of a server: to take connections at a port, from now on. */
export const Listen = v.object({ port: v.number() });
export type Listen = v.InferOutput<typeof Listen>;

/** What a server answers once it does. */
export const Listening = v.object({ listening: v.number() });
export type Listening = v.InferOutput<typeof Listening>;

/** What a server tells of a token that it was sent. */
export const Sighting = v.object({ token: v.string(), source: v.string(), port: v.number() });
export type Sighting = v.InferOutput<typeof Sighting>;

/** What the lab asks of the sender of a load: new UDP flows, spread evenly over the destinations. */
export const Order = v.object({
  destinations: v.array(v.string()),
  flowsPerSecond: v.number(),
  seconds: v.number(),
});
export type Order = v.InferOutput<typeof Order>;

/** What it tells while it sends, and when it has ended: the flows so far, one number a destination. */
export const Sent = v.object({ sent: v.array(v.number()), ended: v.boolean() });
export type Sent = v.InferOutput<typeof Sent>;

/** What makes it end before its time. */
export const STOP = "stop";
