/** Whether a connection keeps its source address, or gets an address of the node. */
export const VERDICTS = ["keep", "masquerade"] as const;
export type Verdict = (typeof VERDICTS)[number];
