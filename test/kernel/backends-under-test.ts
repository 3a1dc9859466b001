import { describe } from "bun:test";
import { join } from "node:path";
import type { Lab } from "../../lab/lab.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { IptablesBackend } from "../../src/backends/iptables/backend.ts";
import { renderRestore } from "../../src/backends/iptables/iptables.ts";
import { NftNatBackend } from "../../src/backends/iptables/nft-backend.ts";
import { ruleset as iptablesRuleset } from "../../src/backends/iptables/ruleset.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { renderJson, renderText } from "../../src/backends/nftables/nftables.ts";
import { ruleset } from "../../src/backends/nftables/ruleset.ts";
import type { Policy } from "../../src/policy/policy.ts";
import type { Host } from "../../src/system/host.ts";
import { IptablesCommands, type Variant } from "../../src/xtables/commands.ts";
import { outcome as outcomeOfRules } from "../backends/iptables/judge.ts";
import { outcome as outcomeOfTables } from "../backends/nftables/judge.ts";
import { type DebianTools, debianTools, SUITES } from "../debian/tools.ts";
import type { Outcome, Packet } from "../packet.ts";
import { absent } from "../programs.ts";
import { iptablesTampering, NAT_TAMPERING, NFT_TAMPERING } from "./tampering.ts";

/** A backend with one set of tools. Tests in this folder run for each. */
export interface BackendUnderTest {
  /**
   * Opens the backend on the lab's node.
   *
   * @param through a prefix for each command that the backend runs
   */
  open(lab: Lab, through?: readonly string[]): Backend;
  /** The number of programs that read the rules of a policy. */
  reads(policy: Policy): number;
  /** Everything in the node's kernel that a write would change, including handles and counters. */
  snapshot(lab: Lab): Promise<string>;
  /** The effect of the backend's rules for a policy on packets, without the kernel. */
  judge(policy: Policy): (packet: Packet) => Outcome;
  /** Load the output of `ipmasq render` for a policy into the kernel, one for each format. */
  readonly renderings: readonly {
    readonly format: string;
    load(lab: Lab, policy: Policy): Promise<unknown>;
  }[];
  /** Commands of other programs that change the rules of a policy that keeps 10.0.0.0/8 with the default chain. */
  readonly tampering: readonly (readonly string[])[];
}

/** Downloaded by scripts/test.ts. */
const TOOLS = await Promise.all(SUITES.map(async suite => ({ suite, tools: await debianTools(suite) })));

/** The Debian suites whose tools are tested. `npm run test:versions` adds the newest. */
const BACKEND_SUITES = process.env.BACKEND_SUITES?.split(" ") ?? ["trixie"];

/** Registers the tests for each backend, with the tools of this machine and of Debian releases. */
export function describeBackends(
  tests: (backend: BackendUnderTest) => void,
  suites: readonly string[] = BACKEND_SUITES,
): void {
  describe("nftables by nft of this machine", () => tests(nftables(["nft"])));
  describe("iptables by iptables-nft of this machine", () => tests(iptables("iptables-nft")));
  describe("iptables by iptables-legacy of this machine", () => tests(iptables("iptables-legacy")));
  describe("iptables by nft of this machine", () => tests(natByNft()));
  for (const suite of suites) {
    describeTools(`nftables by nft of ${suite}`, [suite], tools => {
      for (const { nft } of tools) tests(nftables(nft));
    });
    describeTools(`iptables by iptables-nft of ${suite}`, [suite], tools => {
      for (const { wrapper } of tools) tests(iptables("iptables-nft", wrapper));
    });
  }
}

/** Runs tests with the tools of Debian suites. If they are missing, a single test reports the reason. */
export function describeTools(
  name: string,
  suites: readonly string[],
  tests: (tools: readonly DebianTools[]) => void,
): void {
  const selected = TOOLS.filter(({ suite }) => suites.includes(suite)).map(({ tools }) => tools);
  const missing = selected.flatMap(tools => ("missing" in tools ? [tools.missing] : []));
  describe(name, () => {
    if (missing.length === 0) tests(selected.filter(tools => "nft" in tools));
    else absent(missing.join("; "));
  });
}

/** @param nft the command */
export function nftables(nft: readonly string[]): BackendUnderTest {
  return {
    reads: ({ families }) => families.length,
    open: (lab, through = []) => new NftablesBackend(lab.node.command([...through, ...nft])),
    snapshot: lab => lab.node.output(["nft", "-a", "list", "ruleset"]),
    judge: policy => {
      const tables = ruleset(policy);
      return packet => outcomeOfTables(tables, packet);
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
    tampering: NFT_TAMPERING.map(command => ["nft", command]),
  };
}

/** @param folder the folder of the programs; by default they are found in PATH */
export function iptables(variant: Variant, folder?: string): BackendUnderTest {
  const suffix = variant.slice("iptables".length);
  const path = (program: string) => (folder === undefined ? program : join(folder, program));
  const save = (program: string) => [path(`${program}${suffix}-save`), "-c", "-t", "nat"];
  return {
    open: (lab, through = []) =>
      new IptablesBackend(
        new IptablesCommands(variant, suffix, true, programsOf(lab, through, path)),
        undefined,
        50,
      ),
    reads: policy => (variant === "iptables-legacy" ? policy.families.length : chainsOf(policy)),
    snapshot: async lab => {
      const saved = await Promise.all(["iptables", "ip6tables"].map(it => lab.node.output(save(it))));
      return saved.join("").replace(/^#.*\n/gm, "");
    },
    judge: judgeBoth,
    renderings: [
      {
        format: "iptables-restore",
        load: async (lab, policy) => {
          for (const { family } of policy.families) {
            const program = `${family === "ip" ? "iptables" : "ip6tables"}${suffix}-restore`;
            await lab.node.output([path(program)], { input: renderRestore(policy, family) });
          }
        },
      },
    ],
    tampering: iptablesTampering(path(variant)),
  };
}

/** The chain in table nat, written by nft. */
export function natByNft(): BackendUnderTest {
  return {
    reads: chainsOf,
    open: (lab, through = []) => new NftNatBackend(programsOf(lab, through)),
    snapshot: lab => lab.node.output(["nft", "-a", "list", "ruleset"]),
    judge: judgeBoth,
    renderings: [],
    tampering: NAT_TAMPERING.map(command => ["nft", command]),
  };
}

/** The chains of the iptables backend for a policy, including POSTROUTING. */
function chainsOf(policy: Policy): number {
  return policy.families.reduce((sum, family) => sum + 1 + iptablesRuleset(policy, family).chains.length, 0);
}

function judgeBoth(policy: Policy): (packet: Packet) => Outcome {
  const rulesets = policy.families.map(family => iptablesRuleset(policy, family));
  return packet => outcomeOfRules(rulesets, packet);
}

/** The programs and files of the lab's node. */
export function programsOf(
  lab: Lab,
  through: readonly string[] = [],
  path: (program: string) => string = program => program,
): Host {
  return {
    has: name => Bun.which(path(name)) !== null,
    argv: name => lab.node.command([...through, path(name)]),
    read: file => lab.node.output(["cat", file]).catch(() => ""),
  };
}
