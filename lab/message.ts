/** The messages between the lab and its programs in the namespaces. */
import * as v from "valibot";

/** To the client: send the token over a separate connection. */
export const Attempt = v.object({
  token: v.string(),
  protocol: v.picklist(["tcp", "udp"]),
  to: v.string(),
  port: v.number(),
  from: v.optional(v.string()),
  isOpen: v.optional(v.boolean()),
});
export type Attempt = v.InferOutput<typeof Attempt>;

/** From the client: the connection failed. */
export const Refusal = v.object({ token: v.string(), reason: v.string() });
export type Refusal = v.InferOutput<typeof Refusal>;

/** To a server: take connections at a port. */
export const Listen = v.object({ port: v.number() });

/** From a server: it takes connections at the port; or it received a token. */
export const Report = v.union([
  v.object({ listening: v.number() }),
  v.object({ token: v.string(), source: v.string(), port: v.number() }),
]);
export type Report = v.InferOutput<typeof Report>;

/** To the sender of a load: send new UDP flows, spread evenly over the destinations. */
export const Order = v.object({
  destinations: v.array(v.string()),
  flowsPerSecond: v.number(),
  seconds: v.number(),
});
export type Order = v.InferOutput<typeof Order>;

/** From the sender, while it sends and at the end: the flows so far, one number per destination. */
export const Sent = v.object({ sent: v.array(v.number()), ended: v.boolean() });
export type Sent = v.InferOutput<typeof Sent>;

/** To the sender: stop early. */
export const STOP = "stop";
