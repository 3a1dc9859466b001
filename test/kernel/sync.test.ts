import { afterEach, describe, expect, test } from "bun:test";
import { readFile, rm } from "node:fs/promises";
import type { Lab } from "../../lab/lab.ts";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import { familyText, sync } from "../../src/backends/sync.ts";
import { failureKind } from "../../src/system/program.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { describeBackends } from "./backends-under-test.ts";

/** Addresses that every policy keeps, and that none keeps. */
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

const lab = labPerFile();

describeBackends(({ open, reads, snapshot, tampering }) => {
  afterEach(async () => {
    await open(lab).remove();
    // iptables-nft leaves its tables behind, and "flush ruleset" would delete them under the next backend.
    await lab.node.output(["nft", "flush", "ruleset"]);
  });

  const one = policy({ keep: ["10.0.0.0/8", "192.0.2.0/24"] });
  const other = policy({ keep: ["10.0.0.0/8", "198.51.100.0/24"], masquerade: ["10.96.0.0/12"] });
  const both = policy(
    {
      keep: ["10.0.0.0/9", "10.128.0.0/9", "192.0.2.1/32", "0.0.0.0/1", "fd00::/8", "2001:db8::1/128"],
      masquerade: ["10.96.0.0/12", "fd00:10::/32"],
      sources: ["10.244.0.0/16", "fd00::/8", "::/1"],
      interfaces: ["eth0", "eth*"],
    },
    {
      enableIPv6: true,
      toPorts: [
        { first: 1024, last: 29999 },
        { first: 31000, last: 31000 },
        { first: 32768, last: 65535 },
      ],
    },
  );

  test("a sync after a sync finds no difference and writes nothing", async () => {
    const backend = open(lab);
    for (const desired of [one, other, both, policy({ keep: [] }), policy({ sources: ["fd00::/8"] }), one]) {
      const { after } = await sync(backend, desired);
      expect(after.actual).toEqual([...after.desired]);
      const before = await snapshot(lab);
      const again = await sync(backend, desired);
      expect(again.before.inSync).toBe(true);
      expect(await snapshot(lab)).toBe(before);
    }
  });

  test("another chain name leaves no chain behind, also none that no rule led to", async () => {
    const backend = open(lab);
    // IPv6 has no source, so no rule leads to the chain of its verdicts.
    const short = { sources: ["10.244.0.0/16"], masquerade: ["fd00:10::/32"], enforce: true };
    await sync(backend, policy(short, { enableIPv6: true, masqChain: "OLD-MASQ" }));
    await sync(backend, policy(short, { masqChain: "NEW-MASQ" }));
    expect((await new MigratingBackend(backend, []).removeLeftovers(policy({}))).failures).toEqual([]);
    expect(await snapshot(lab)).not.toContain("OLD-MASQ");
    await sync(backend, policy({}, { masqChain: "NEW-MASQ" }));
    await sync(backend, policy({}));
    expect(await snapshot(lab)).not.toContain("NEW-MASQ");
  });

  test("a sync without a difference only reads rules, and changes no counter", async () => {
    for (const desired of [one, both]) {
      const backend = open(lab, ["sh", "-c", COUNTED, STARTED]);
      await sync(backend, desired);
      await lab.connect({ protocol: "udp", to: KEPT });
      await lab.connect({ protocol: "udp", to: OUTBOUND });
      const before = await snapshot(lab);
      expect(before).toMatch(/packets 1 |\[1:/);
      expect(await programs(() => sync(backend, desired))).toBe(reads(desired));
      expect(await snapshot(lab)).toBe(before);
    }
  });

  test("after a crash at any moment either the old or the new rules are in force, and the next sync completes the change", async () => {
    const backend = open(lab);
    await sync(backend, other);
    const clean = normal(await snapshot(lab));
    const all = await programs(async through => {
      await sync(backend, one);
      await sync(open(lab, through), other);
    });
    expect(all).toBeGreaterThanOrEqual(3);
    for (let lived = 0; lived < all; lived++) {
      await backend.remove();
      await sync(backend, one);
      await rm(STARTED, { force: true });
      await expect(sync(open(lab, ["sh", "-c", DYING, STARTED, `${lived}`]), other)).rejects.toThrow(
        "was killed",
      );
      expect(await owner(KEPT)).toBe("pod");
      expect(await owner(OUTBOUND)).toBe("node");
      await sync(backend, other);
      expect(normal(await snapshot(lab))).toEqual(clean);
    }
  });

  test("the next sync repairs the effects of two agents at the same time", async () => {
    const [first, second] = [open(lab), open(lab)];
    await sync(first, other);
    const clean = normal(await snapshot(lab));
    for (let i = 0; i < 8; i++) {
      await Promise.allSettled([sync(first, i % 3 === 0 ? both : one), sync(second, other)]);
      await sync(first, one);
      await new MigratingBackend(first, []).removeLeftovers(one);
      expect(await owner(KEPT)).toBe("pod");
      expect(await owner(OUTBOUND)).toBe("node");
      await sync(second, other);
      expect(normal(await snapshot(lab))).toEqual(clean);
    }
  });

  describe("changes by other programs are repaired", () => {
    test.each(tampering.map(argv => [argv.join(" "), argv] as const))("%s", async (_command, argv) => {
      const backend = open(lab);
      await sync(backend, one);
      const clean = normal(await snapshot(lab));
      await lab.node.output(argv);
      const { before } = await sync(backend, one);
      expect(before.inSync).toBe(false);
      expect(before.actual).not.toEqual([...before.desired]);
      expect(normal(await snapshot(lab))).toEqual(clean);
    });
  });

  test.each([
    ["quotes", `/etc/"my" 'config'`],
    ["characters that are special in shells and nft", "/etc/$HOME/`;}{#\\n%s*\\"],
    ["letters of other scripts", "/etc/größe/設定/😀"],
    ["control characters", "/etc/\n\t\u0000\u001b[0m\u2028"],
    ["more bytes than fit a comment", `/etc/${"long/".repeat(60)}config`],
    ["as many characters as fit a comment, in more bytes", `/${"é".repeat(122)}`],
  ])("a file's name may have %s", async (_what, file) => {
    const backend = open(lab);
    const desired = policy({ file, keep: ["10.0.0.0/8", "fd00::/8"] }, { enableIPv6: true });
    await sync(backend, desired);
    const before = await snapshot(lab);
    expect((await sync(backend, desired)).before.inSync).toBe(true);
    expect(await snapshot(lab)).toBe(before);
  });

  test("cleanup removes all rules", async () => {
    const backend = open(lab);
    const empty = await snapshot(lab);
    await sync(backend, both);
    expect((await backend.remove()).length).toBeGreaterThan(0);
    expect(await snapshot(lab)).toBe(empty);
    expect(await backend.remove()).toEqual([]);
  });

  test("rules of a family that is no longer enabled are removed", async () => {
    const backend = open(lab);
    const both = policy({}, { enableIPv6: true });
    await sync(backend, policy());
    const withoutIPv6 = await snapshot(lab);
    await sync(backend, both);
    await sync(open(lab), policy());
    const migrating = new MigratingBackend(open(lab), []);
    expect((await migrating.leftovers(policy())).lines).not.toEqual([]);
    expect((await migrating.removeLeftovers(policy())).lines).not.toEqual([]);
    expect(normal(await snapshot(lab))).toEqual(normal(withoutIPv6));
  });

  test.each([
    ["ip", "IPv4"],
    ["ip6", "IPv6"],
  ] as const)("where %s cannot be had the other family is in force", async (family, name) => {
    const desired = policy({ keep: ["10.0.0.0/8", "fd00::/8"] }, { enableIPv6: true });
    const backend = open(lab, ["sh", "-c", WITHOUT, family]);
    for (const first of [true, false]) {
      const { before, after, failures } = await sync(backend, desired);
      expect(before.inSync).toBe(!first);
      expect(after.desired.join()).toMatch(family === "ip" ? "fd00::/8" : "10.0.0.0/8");
      expect(failures.map(familyText)).toEqual([expect.stringContaining(`${name} rules are not in force: `)]);
      expect(failures.map(({ error }) => failureKind(error))).toEqual(["unsupported"]);
    }
    if (family === "ip6") expect(await owner(OUTBOUND)).toBe("node");
    // Adding the other family writes no rule twice.
    await sync(open(lab), desired);
    const clean = await snapshot(lab);
    expect((await sync(backend, desired)).before.inSync).toBe(true);
    expect(await snapshot(lab)).toBe(clean);
  });

  test("without any family, the error has the reason", async () => {
    const desired = policy({}, { enableIPv6: true });
    await expect(sync(open(lab, ["sh", "-c", WITHOUT, "all"]), desired)).rejects.toThrow(
      "Address family not supported by protocol",
    );
  });

  test("5,000 CIDRs are loaded, changed and removed", async () => {
    const backend = open(lab);
    const many = Array.from({ length: 5000 }, (_, i) => `100.${i >> 8}.${i & 255}.0/24`);
    await sync(backend, policy({ keep: many }));
    await sync(backend, policy({ keep: [...many.slice(1), "10.0.0.0/8"] }));
    const { after } = await sync(backend, one);
    expect(after.inSync).toBe(true);
    await backend.remove();
  }, 60_000);
});

/** Runs a command, but fails commands for one family, as a kernel without that family does. Folders do not matter. */
const WITHOUT = `
  case $0 in ip) words='(^| )ip |iptables' ;; ip6) words='(^| )ip6 |ip6tables' ;; *) words='(^| )ip6? |ip6?tables' ;; esac
  input=$(mktemp)
  case "$*" in *-restore*|*"-f -"*) cat >"$input" ;; esac
  if echo "$*" | sed -E 's,(^| )/[^ ]*/,\\1,g' | grep -Eq "$words" || grep -Eq ""family":"$0"" "$input"; then
    echo "Error: Could not process rule: Address family not supported by protocol" >&2
    rm "$input"
    exit 1
  fi
  "$@" <"$input"
  code=$?
  rm "$input"
  exit $code`;

/** Runs a command and adds a line to a file. */
const COUNTED = 'echo started >>"$0"; exec "$@"';

/** The same for a limited number of commands; after that, it acts as if the agent were killed. */
const DYING = 'echo started >>"$0"; [ "$(wc -l <"$0")" -le "$1" ] || kill -KILL $$; shift; exec "$@"';

/** lab/isolate mounts an empty /run. */
const STARTED = "/run/started";

/** The number of programs that a backend with the prefix `through` started. */
async function programs(run: (through: readonly string[]) => Promise<unknown>): Promise<number> {
  await rm(STARTED, { force: true });
  await run(["sh", "-c", COUNTED, STARTED]);
  return (await readFile(STARTED, "utf8")).split("\n").length - 1;
}

async function owner(to: string): Promise<ReturnType<Lab["owner"]>> {
  return lab.ownerSeen({ protocol: "udp", to });
}

/**
 * The lines of a snapshot without the parts that differ for newly written rules: handles, counters, set generations, and
 * the order of chains.
 */
function normal(snapshot: string): string[] {
  return snapshot
    .replace(/ # handle \d+/g, "")
    .replace(/packets \d+ bytes \d+|\[\d+:\d+\]/g, "")
    .replace(/(masquerade|source)-[abc]\b/g, "$1")
    .split("\n")
    .sort();
}
