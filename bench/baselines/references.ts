import { type Baseline, mustRun } from "./baseline.ts";

/** No list: every connection is masqueraded. What a list costs is the difference to this. */
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

/** No NAT and no connection tracking: what sending and forwarding cost. */
export const FORWARDING: Baseline = {
  name: "forwarding only",
  ours: false,
  linear: false,
  sync: async () => {},
};
