/** The fate of a connection's source address: it stays, or becomes an address of the node. */
export const VERDICTS = ["keep", "masquerade"] as const;
export type Verdict = (typeof VERDICTS)[number];
