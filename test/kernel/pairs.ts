import { expect } from "bun:test";
import { join } from "node:path";
import type { Lab } from "../../lab/lab.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import type { Policy } from "../../src/policy/policy.ts";
import type { Variant } from "../../src/xtables/commands.ts";
import type { DebianTools } from "../debian/tools.ts";
import { type BackendUnderTest, iptables, nftables } from "./backends-under-test.ts";
import type { Expectation } from "./expectations.ts";

/** A version of nft or of a variant of iptables, on a node with other versions. */
export interface Version {
  readonly backend: BackendUnderTest;
  /** Commands that list ipmasq's rules, without writing. */
  listings(policy: Policy): readonly (readonly string[])[];
  /** The error of a sync, if the version is too old to write. */
  readonly refusal?: string;
}

/** @param tools the nft and iptables to use; by default this machine's */
export function nftOf({ nft, version }: Pick<DebianTools, "nft" | "version">): Version {
  return {
    backend: nftables(nft),
    listings: ({ families }) => [
      ...families.flatMap(({ family }) =>
        [[], ["-j"], ["-a"]].map(options => [...nft, ...options, "list", "table", family, "ip-masq-agent"]),
      ),
      [...nft, "list", "ruleset"],
    ],
    ...(Bun.semver.order(version, "1.0.2") < 0 && {
      refusal: `nft: version ${version} is too old; install nft 1.0.2 or later`,
    }),
  };
}

export function iptablesOf(variant: Variant, { wrapper }: Pick<DebianTools, "wrapper">): Version {
  const suffix = variant.slice("iptables".length);
  return {
    backend: iptables(variant, wrapper),
    listings: ({ families }) =>
      families.flatMap(({ family }) => {
        const program = join(wrapper, `${family === "ip" ? "iptables" : "ip6tables"}${suffix}`);
        return [
          [program, "-t", "nat", "-S"],
          [program, "-t", "nat", "-n", "-v", "-L", "IP-MASQ-AGENT"],
          [`${program}-save`, "-t", "nat"],
        ];
      }),
  };
}

/** Policies, each with connections to test. */
export type Cases = readonly (readonly [policy: Policy, expected: readonly Expectation[]])[];

/** The tests of a pair. */
export interface Tried {
  policies: number;
  connections: number;
}

/**
 * Tests that one version reads the policies that another one writes: it lists the rules without errors, its sync finds
 * no difference and writes nothing (or is refused if it is too old), and real connections get the right verdicts. Then it
 * writes itself, if it can, and the first version finds no difference.
 */
export async function tryPair(lab: Lab, writer: Version, reader: Version, cases: Cases): Promise<Tried> {
  const tried: Tried = { policies: 0, connections: 0 };
  const [first, second] = [writer.backend.open(lab), reader.backend.open(lab)];
  for (const [policy, expected] of cases) {
    expect((await sync(first, policy)).after.inSync).toBe(true);
    const written = await writer.backend.snapshot(lab);
    for (const listing of reader.listings(policy)) {
      expect([listing, await lab.node.run(listing)]).toMatchObject([listing, { exitCode: 0, stderr: "" }]);
    }
    if (reader.refusal !== undefined) await expect(sync(second, policy)).rejects.toThrow(reader.refusal);
    else await inSync(second, policy);
    expect(await writer.backend.snapshot(lab)).toBe(written);
    expect(await verdicts(lab, expected)).toEqual(expected.map(it => [...it]));
    tried.policies += 1;
    tried.connections += expected.length * PROTOCOLS.length;
  }
  const [[policy] = []] = cases;
  if (policy === undefined) return tried;
  if (reader.refusal === undefined) {
    await sync(second, policy);
    await inSync(first, policy);
  } else await expect(second.remove()).rejects.toThrow(reader.refusal);
  await first.remove();
  return tried;
}

/** Asserts that a sync finds no difference. */
async function inSync(backend: Backend, policy: Policy): Promise<void> {
  const { before } = await sync(backend, policy);
  expect([...before.actual]).toEqual([...before.desired]);
  expect(before.inSync).toBe(true);
}

const PROTOCOLS = ["udp", "tcp"] as const;

/** The sources of connections, in the form of the expectations. */
function verdicts(lab: Lab, expected: readonly Expectation[]) {
  const seen = expected.map(async ([to, , ...from]) => {
    const source = from[0] === undefined ? {} : { from: from[0] };
    const connections = PROTOCOLS.map(protocol => lab.connect({ protocol, to, ...source }));
    const owners = (await Promise.all(connections)).map(it => lab.owner(it.source));
    return [to, [...new Set(owners)].join(" and "), ...from];
  });
  return Promise.all(seen);
}
