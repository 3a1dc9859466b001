import { describe, test } from "bun:test";
import { type DebianTools, debianTools } from "../../lab/debian.ts";
import type { Lab } from "../../lab/lab.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { renderJson, renderText } from "../../src/backends/nftables/render.ts";
import { ruleset } from "../../src/backends/nftables/ruleset.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { judge, type Packet } from "../backends/nftables/judge.ts";
import { NFT_MEDDLING } from "./meddling.ts";

/** A way to bring rules into the kernel. The tests of this folder run for each of them. */
export interface Candidate {
  /**
   * The backend at work on the lab's node.
   *
   * @param through a command line that runs the one behind it, in front of each that the backend starts
   */
  open(lab: Lab, through?: readonly string[]): Backend;
  /** Everything in the node's kernel that a write would change, handles and counters too. */
  snapshot(lab: Lab): Promise<string>;
  /** What the rules that the backend makes of a policy do to packets. Asks no kernel. */
  judge(policy: Policy): (packet: Packet) => "keep" | "masquerade";
  /** Loads into the kernel what `ipmasq render` prints of a policy, in each of the formats that it has for this. */
  readonly renderings: readonly {
    readonly format: string;
    load(lab: Lab, policy: Policy): Promise<unknown>;
  }[];
  /** What others do to the rules of a policy that keeps 10.0.0.0/8 with the default chain: a command each. */
  readonly meddling: readonly (readonly string[])[];
}

/** Debian's suites whose tools the tests use; scripts/test.ts has them fetched. */
const SUITES = await Promise.all(
  ["bullseye", "trixie", "forky"].map(async suite => ({ suite, tools: await debianTools(suite) })),
);

/** Where the tools of a suite cannot be had, what needs them is skipped; but there it fails. */
const ALL_MUST_BE_HAD = process.env.CI === "true";

/** Has the tests for each candidate. */
export function describeCandidates(tests: (candidate: Candidate) => void): void {
  describe("nftables by nft of this machine", () => tests(nftables(["nft"])));
  for (const suite of ["trixie", "forky"]) {
    describeTools(`nftables by nft of ${suite}`, [suite], tools => {
      for (const { nft } of tools) tests(nftables(nft));
    });
  }
}

/** Has tests with the tools of Debian's suites, or one in their place that says why they cannot be had. */
export function describeTools(
  name: string,
  suites: readonly string[],
  tests: (tools: readonly DebianTools[]) => void,
): void {
  const wanted = SUITES.filter(({ suite }) => suites.includes(suite)).map(({ tools }) => tools);
  const missing = wanted.flatMap(tools => ("missing" in tools ? [tools.missing] : []));
  describe(name, () => {
    if (missing.length === 0) tests(wanted.filter(tools => "nft" in tools));
    else absent(missing.join("; "));
  });
}

function absent(why: string): void {
  test.skipIf(!ALL_MUST_BE_HAD)(why, () => {
    throw new Error(why);
  });
}

function nftables(nft: readonly string[]): Candidate {
  return {
    open: (lab, through = []) => new NftablesBackend(lab.node.command([...through, ...nft])),
    snapshot: lab => lab.node.output(["nft", "-a", "list", "ruleset"]),
    judge: policy => {
      const tables = ruleset(policy, true);
      return packet => judge(tables, packet);
    },
    renderings: [
      {
        format: "nft",
        load: (lab, policy) => lab.node.output([...nft, "-f", "-"], { input: renderText(policy) }),
      },
      {
        format: "nft-json",
        load: (lab, policy) => lab.node.output([...nft, "-j", "-f", "-"], { input: renderJson(policy) }),
      },
    ],
    meddling: NFT_MEDDLING.map(command => ["nft", command]),
  };
}
