import { type Baseline, mustRun } from "./baseline.ts";

/** Masquerades every connection. The difference to this is the cost of a list. */
export const PLAIN: Baseline = {
  name: "masquerade, no list",
  ours: false,
  linear: false,
  sync: run =>
    mustRun(
      run,
      ["nft", "-f", "-"],
      `table ip plain {
  chain postrouting {
    type nat hook postrouting priority srcnat + 1
    masquerade fully-random
  }
}
`,
    ),
};

/** Without NAT and connection tracking: the cost of sending and forwarding. */
export const FORWARDING: Baseline = {
  name: "forwarding only",
  ours: false,
  linear: false,
  sync: async () => {},
};
