import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BACKENDS } from "../../src/backends/backends.ts";
import { chooseBackend } from "../../src/backends/choose.ts";
import { chainNames as natChainNames, ruleset as natRuleset } from "../../src/backends/iptables/ruleset.ts";
import { chainNames, ruleset } from "../../src/backends/nftables/ruleset.ts";
import type { Host } from "../../src/system/host.ts";
import { interfaceName, policyArguments } from "../arbitraries.ts";
import { policy } from "../policies.ts";

const NO_PROGRAMS: Host = { has: () => false, argv: name => [`/none/${name}`], read: async () => "" };

/** A node with nft only, replaced by a shell that prints this text for its version, and exits with this code for rules. */
function onlyNft(version: string, stderr: string, code: number): Host {
  const script = `case "$*" in
    *--version*) echo "nftables ${version} (a test)";;
    *) cat >/dev/null; echo "${stderr}" >&2; exit ${code};;
  esac`;
  return { ...NO_PROGRAMS, has: name => name === "nft", argv: () => ["sh", "-c", script, "nft"] };
}

describe("--backend=auto", () => {
  const chosen = async (host: Host) => {
    const { backend, reason } = await chooseBackend({ requested: "auto", policy: policy(), host });
    return `${backend.name} by ${backend.writer}: ${reason}`;
  };

  test("fails with a remedy if no program is installed", async () => {
    await expect(chosen(NO_PROGRAMS)).rejects.toThrow(
      "neither iptables nor nft is installed; install nftables or iptables",
    );
  });

  test("takes nftables if the permission for the test is missing", async () => {
    const host = onlyNft("v1.1.3", "Operation not permitted", 1);
    expect(await chosen(host)).toBe("nftables by nft: nft 1.1.3 is installed");
  });

  test("takes iptables if nft is too old, with the reason", async () => {
    const host = onlyNft("v0.9.8", "", 0);
    const reason = "nft cannot load the ruleset: nft: version 0.9.8 is too old; install nft 1.0.2 or later";
    expect(await chosen(host)).toBe(`iptables by nft: ${reason}; iptables is not installed`);
  });
});

test("a format of render names one backend", () => {
  const formats = BACKENDS.flatMap(({ documents }) => Object.keys(documents));
  expect(formats.toSorted()).toEqual([...new Set(formats)].toSorted());
});

test("the names of chains are those of the desired rules", () => {
  const anyPolicy = policyArguments({ sources: ["192.0.2.1"], interfaces: interfaceName() });
  const property = fc.property(anyPolicy, ({ short, flags }) => {
    const meant = policy(short, flags);
    const names = (chains: readonly { readonly name: string }[]) => chains.map(({ name }) => name).toSorted();
    for (const family of meant.families) {
      const table = ruleset(meant).find(it => it.family === family.family);
      expect(chainNames(meant, family).toSorted()).toEqual(names(table?.chains ?? []));
      expect(natChainNames(meant, family).toSorted()).toEqual(names(natRuleset(meant, family).chains));
    }
  });
  fc.assert(property);
});
