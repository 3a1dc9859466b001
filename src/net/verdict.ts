/** What happens to the source address of a connection: it stays, or becomes the node's. */
export const VERDICTS = ["keep", "masquerade"] as const;
export type Verdict = (typeof VERDICTS)[number];
