import { type Contestant, mustRun } from "./contestant.ts";

/** No list: every connection is masqueraded. What a list costs is the difference to this. */
export const PLAIN: Contestant = {
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
export const FORWARDING: Contestant = {
  name: "forwarding only",
  ours: false,
  linear: false,
  sync: async () => {},
};
