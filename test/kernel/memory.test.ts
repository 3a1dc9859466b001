import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmod, readFile, writeFile } from "node:fs/promises";
import type { Owner } from "../../lab/lab.ts";
import { Memory } from "../../src/backends/memory.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import type { Family } from "../../src/net/cidr.ts";
import { Nft } from "../../src/nft/nft.ts";
import { listTables } from "../../src/nft/node-tables.ts";
import type { Table } from "../../src/nft/table.ts";
import { type Policy, partOf } from "../../src/policy/policy.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { describeTools } from "./backends-under-test.ts";
import { Watched } from "./watched.ts";

const lab = labPerFile();
const RUNS = "/run/nft-runs";
/** A file that changes what the wrapper of nft does with transactions. */
const LIE = "/run/nft-lie";
const WRAPPER = "/run/nft-wrapper";
/** The process id of the last monitor. */
const MONITOR = "/run/nft-monitor";
/** A line for each set that was listed: whether a monitor ran. */
const LISTED = "/run/nft-listed";

/** Records its runs, and monitors beside listings of sets. With `LIE`, a transaction is changed by that sed script, and succeeds in any case. */
const WRAPPER_TEXT = `#!/bin/sh
echo "$*" >>${RUNS}
case "$*" in
*monitor*) echo $$ >${MONITOR} ;;
*"list set"*) kill -0 "$(cat ${MONITOR})" 2>/dev/null && echo watched >>${LISTED} || echo unwatched >>${LISTED} ;;
esac
case "$*" in
*--check*|*monitor*|*list*) exec "$@" ;;
*-f*)
  [ -e ${LIE} ] || exec "$@"
  sed -f ${LIE} | "$@" 2>/dev/null
  exit 0
  ;;
esac
exec "$@"
`;

function cidrs(count: number, last: number): string[] {
  const many = Array.from({ length: count }, (_, i) => `10.${i >> 8}.${i & 255}.0/28`);
  return [...many, `192.168.${last}.0/24`];
}

/** A policy with so many CIDRs that a write is confirmed by a look at one chain. */
const long = (last: number): Policy => policy({ keep: cidrs(1500, last) });
/** A policy with so many CIDRs that the monitor ends before a write, and that sets are listed one by one. */
const veryLong = (last: number): Policy => policy({ keep: veryLongList(last) });
const veryLongList = (last: number): string[] => cidrs(20_000, last);
const short = (last: number): Policy => policy({ keep: ["10.0.0.0/8", `192.168.${last}.0/24`] });

const DUAL = { enableIPv6: true };

const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const nft = (commands: string) => lab.node.output(["nft", commands]);

let agent: Watched;
beforeEach(async () => {
  await writeFile(WRAPPER, WRAPPER_TEXT);
  await chmod(WRAPPER, 0o755);
  await writeFile(RUNS, "");
});
afterEach(async () => {
  agent.stop();
  await lab.node.output(["rm", "-f", LIE]);
  await lab.flushRules();
});

/** The runs of nft since the last call, without those of the monitor. */
async function runs(): Promise<string[]> {
  const lines = (await readFile(RUNS, "utf8")).trim().split("\n").filter(Boolean);
  await writeFile(RUNS, "");
  return lines.map(line => line.replace(/^.*?nft /, "")).filter(line => line !== "monitor");
}

async function opened(tool: readonly string[], desired: Policy): Promise<void> {
  agent = await Watched.open(new NftablesBackend(lab.node.command([WRAPPER, ...tool])), desired);
  await runs();
}

const WRITE = ["-j -f -", "-j -f -"];
const LIST = "-j list table ip ip-masq-agent";
const CONFIRM = "-j --terse list table ip ip-masq-agent";

describeTools("remembered rules", ["bookworm", "trixie"], tools => {
  for (const { nft: tool } of tools) {
    describe(tool.join(" ").includes("trixie") ? "nft of trixie" : "nft of bookworm", () => {
      test("a change of short lists is written without a listing, because the monitor reports all of it", async () => {
        const hosts = (last: number) =>
          policy({ keep: ["10.0.0.0/8", "fd00::/16", `192.168.${last}.1/32`, `fe00:${last}::1/128`] }, DUAL);
        await opened(tool, hosts(1));
        const { before, after } = await agent.sync(hosts(2), { from: "memory" });
        expect([before.isRemembered, after.inSync]).toEqual([true, true]);
        expect(await runs()).toEqual(WRITE);
        // A report does not compare the hooks of new chains.
        const enforced = { ...hosts(2), enforceNonMasquerade: true };
        await agent.sync(enforced, { from: "memory" });
        expect((await runs()).slice(1, 3).sort()).toEqual([LIST, LIST.replace("ip ", "ip6 ")]);
        expect((await agent.sync(enforced)).before.inSync).toBe(true);
      });

      test("a change of a long list is written and confirmed without a listing", async () => {
        await opened(tool, long(1));
        const { after } = await agent.sync(long(2), { from: "memory" });
        expect(after.inSync).toBe(true);
        expect(await runs()).toEqual([...WRITE, CONFIRM]);
        expect([await owner("192.168.1.1"), await owner("192.168.2.1")]).toEqual(["node", "pod"]);
        const verified = await agent.sync(long(2));
        expect(verified.before.inSync).toBe(true);
        // The listing has the last counts of the replaced set, which is then removed.
        expect(await runs()).toEqual([LIST, "-j -f -"]);
        expect(await lab.node.output(["nft", "list", "sets"])).not.toContain("non-masquerade-a");
      });
    });
  }
});

test("lists that a policy no longer has are not drift, and the next listing has their last counts", async () => {
  await opened(["nft"], policy({ keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"] }));
  await nft("add set ip ip-masq-agent theirs { type ipv4_addr; flags interval; counter; }");
  await agent.changed();
  expect(await owner("10.96.0.1")).toBe("node");
  const rest = policy({ masquerade: ["0.0.0.0/0"] });
  const counted = () => agent.totals.byVerdict.masquerade.connections;
  expect((await agent.sync(policy({ keep: ["10.0.0.0/8"] }), { from: "memory" })).after.inSync).toBe(true);
  expect(await nft("list sets")).not.toContain("theirs");
  expect((await agent.sync(policy({ keep: ["10.0.0.0/8"] }))).before.inSync).toBe(true);
  expect([counted(), await nft("list sets")]).toEqual([1, expect.not.stringContaining("set masquerade-")]);
  expect(await owner("203.0.113.7")).toBe("node");
  // Without connections to masquerade there is no counter of them.
  await agent.sync(policy({ keep: ["0.0.0.0/0"] }), { from: "memory" });
  expect(counted()).toBe(2);
  await agent.sync(policy({ keep: ["0.0.0.0/0"] }));
  await agent.sync(rest, { from: "memory" });
  expect((await agent.sync(rest)).before.inSync).toBe(true);
});

describe("our transactions", () => {
  test("are not reported, and foreign ones before, between and after them are", async () => {
    await opened(["nft"], long(1));
    const before = agent.changes;
    for (let i = 2; i < 6; i++) await agent.sync(long(i), { from: "memory" });
    await Bun.sleep(500); // the monitor has printed all of it
    expect(agent.changes).toBe(before);
    const foreign = async () => {
      await nft("add rule ip ip-masq-agent postrouting counter");
      await agent.changed();
      expect((await agent.sync(long(9))).before.inSync).toBe(false);
    };
    await agent.sync(long(9), { from: "memory" });
    await foreign();
    const writing = agent.sync(long(10), { from: "memory" }).catch(() => {});
    await nft("add rule ip ip-masq-agent postrouting counter");
    await writing;
    await agent.changed();
    await agent.sync(long(10));
    expect(await nft("list chain ip ip-masq-agent postrouting")).not.toContain("\tcounter packets");
  });

  test("are written from a listing after a foreign change", async () => {
    await opened(["nft"], long(1));
    await nft("flush chain ip ip-masq-agent postrouting");
    await agent.changed();
    await agent.sync(long(2), { from: "memory" });
    expect((await runs())[0]).toBe(LIST);
    expect(await owner("192.168.2.1")).toBe("pod");
    expect(await owner("203.0.113.7")).toBe("node");
  });
});

test("a foreign change of a new set before the rules use it is repaired by the same sync", async () => {
  await opened(["nft"], short(1));
  await writeFile(RUNS, "");
  await writeFile(WRAPPER, WRAPPER_TEXT.replace("*-f*)", `*-f*)\n${FOREIGN}`));
  const { after } = await agent.sync(short(2), { from: "memory" });
  expect(after.inSync).toBe(true);
  expect(await owner("203.0.113.7")).toBe("node");
});

/** Adds an element before the second transaction that is written. */
const FOREIGN = `  [ "$(grep -c -- -f ${RUNS})" != 2 ] || nft add element ip ip-masq-agent non-masquerade-b "{ 203.0.113.0/24 }"`;

/** Ways in which nft exits with 0 although the kernel has something else. */
const LIES: readonly (readonly [what: string, sed: string, seen: "by the look" | "by the next listing"])[] = [
  ["does nothing", "s/.*/{}/", "by the look"],
  ["drops a rule", 's/"return":null/"counter":null/', "by the look"],
  [
    "leaves an element out",
    's|{"elem":{"val":{"prefix":{"addr":"10.0.7.0"[^}]*}}[^}]*}},||',
    "by the next listing",
  ],
];

describe.each(LIES)("an nft that %s", (_what, script, seen) => {
  test("is detected with a short list", async () => {
    await opened(["nft"], short(1));
    await writeFile(LIE, script.replace("10.0.7.0", "10.0.0.0"));
    const failure = await agent.sync(short(2), { from: "memory" }).catch(error => error);
    expect(failure).toHaveProperty("name", "NotAppliedError");
  });

  test(`is detected ${seen} with a long list`, async () => {
    await opened(["nft"], long(1));
    await writeFile(LIE, script);
    const first = await agent.sync(long(2), { from: "memory" }).catch(error => error);
    if (seen === "by the look") expect(first).toHaveProperty("name", "NotAppliedError");
    await lab.node.output(["rm", LIE]);
    const { before, after } = await agent.sync(long(2));
    expect([before.inSync, after.inSync]).toEqual([false, true]);
    expect([await owner("10.0.7.1"), await owner("192.168.2.1")]).toEqual(["pod", "pod"]);
  });
});

describe("the first write of an agent", () => {
  let backend: NftablesBackend;

  /** Looks at the kernel, lets `meanwhile` happen, and writes. */
  async function begin(
    wanted: Policy,
    meanwhile: () => Promise<unknown> = async () => {},
    { tool = ["nft"], foreign }: { tool?: readonly string[]; foreign?: string | undefined } = {},
  ) {
    await lab.flushRules();
    if (foreign !== undefined) await nft(foreign);
    const argv = lab.node.command([WRAPPER, ...tool]);
    backend = new NftablesBackend(argv);
    backend.prepare(listTables(argv));
    while ((await readFile(RUNS, "utf8")) === "") await Bun.sleep(1);
    await Bun.sleep(50); // it has ended
    expect(await runs()).toEqual(["-j list tables"]);
    await meanwhile();
    return sync(backend, wanted, { isWatched: true });
  }

  /** The agent that watches after this write, and its first report. */
  async function watched(): Promise<void> {
    agent = Watched.watching(backend);
    await agent.changed();
  }

  const CONFIRMS =
    "is confirmed by its echo or a listing, and all rules are listed as soon as the monitor listens";
  async function confirms(tool: readonly string[]): Promise<void> {
    const { listsTersely } = await new Nft(lab.node.command(tool)).features();
    const list = listsTersely ? ["--echo -j -f -"] : ["-j -f -", LIST];
    for (const [foreign, confirm] of [
      // For an echo, nft before 1.1 reads the elements of all foreign sets.
      ["add table netdev theirs; add set netdev theirs s { type ipv4_addr; }", list],
      ["add table ip nat; add chain ip nat POSTROUTING", ["--echo -j -f -"]],
      [undefined, ["--echo -j -f -"]],
    ] as const) {
      expect((await begin(short(1), undefined, { tool, foreign })).after.inSync).toBe(true);
      expect(await runs()).toEqual(["-j -f -", ...confirm]);
    }
    expect([await owner("10.0.7.1"), await owner("203.0.113.7")]).toEqual(["pod", "node"]);
    await watched();
    expect((await agent.sync(short(1))).before.inSync).toBe(true);
    expect(await runs()).toEqual([LIST]);
  }

  test(CONFIRMS, () => confirms(["nft"]));

  describeTools("by a version of nft", ["bookworm", "trixie"], tools => {
    for (const { nft: tool } of tools) test(CONFIRMS, () => confirms(tool));
  });

  test("lists the rules if a report comes between the look and the first sync", async () => {
    const { before } = await begin(short(1), async () => {
      await watched();
      await sync(new NftablesBackend(lab.node.command(["nft"])), short(1));
    });
    expect(before.inSync).toBe(true);
  });

  test.each<[what: string, wanted: Policy, kept: Owner]>([
    ["sets", short(1), "pod"],
    ["only rules", policy({ keep: [], masqLinkLocal: true }), "node"],
  ])(
    "of %s is refused if another program makes the table after the look, and then repeated",
    async (_what, wanted, kept) => {
      const foreign =
        "add table ip ip-masq-agent; add chain ip ip-masq-agent theirs; add rule ip ip-masq-agent theirs drop";
      const { after } = await begin(wanted, () => nft(foreign));
      expect(after.inSync).toBe(true);
      expect(await nft("list ruleset")).not.toContain("theirs");
      expect([await owner("10.0.7.1"), await owner("203.0.113.7")]).toEqual([kept, "node"]);
      await watched();
    },
  );

  test("of a long list is confirmed without its elements, which nft before 1.1 would read", async () => {
    expect((await begin(long(1))).after.inSync).toBe(true);
    expect([CONFIRM, "--check -j -f -"]).toContain((await runs()).at(-1) ?? "");
    expect([await owner("10.0.7.1"), await owner("203.0.113.7")]).toEqual(["pod", "node"]);
    await watched();
    expect((await agent.sync(long(1))).before.inSync).toBe(true);
  });

  describe.each([
    ["a short list", short, "10.0.0.0"],
    ["a long list", long, "10.0.7.0"],
  ])("of %s", (_list, list, element) => {
    test.each(LIES)("by an nft that %s is found out", async (what, script) => {
      const lie = script.replace("10.0.7.0", element);
      const first = await begin(list(1), () => writeFile(LIE, lie)).catch(error => error);
      await lab.node.output(["rm", LIE]);
      await watched();
      if (what === "does nothing") expect(first).toHaveProperty("name", "NotAppliedError");
      const { before, after } = await agent.sync(list(1));
      expect([before.inSync, after.inSync]).toEqual([false, true]);
      expect([await owner("10.0.7.1"), await owner("203.0.113.7")]).toEqual(["pod", "node"]);
    });
  });
});

test("no connection is lost or counted twice across 60 changes without a listing before them", async () => {
  await opened(["nft"], long(0));
  const load = await lab.load({ destinations: ["10.0.7.1", "203.0.113.7"], flowsPerSecond: 1000 });
  for (let i = 1; i <= 60; i++) {
    const desired = long(i % 7);
    await agent.sync(desired, { from: "memory" });
    agent.totals.keep(desired);
  }
  const [kept, masqueraded] = await load.stop();
  agent.totals.read(await agent.backend.plan(long(60 % 7)));
  const { keep, masquerade } = agent.totals.byVerdict;
  expect([keep.connections, masquerade.connections]).toEqual([
    kept?.fromPod ?? 0,
    masqueraded?.fromNode ?? 0,
  ]);
  expect([kept?.fromNode, masqueraded?.fromPod]).toEqual([0, 0]);
}, 120_000);

test("the monitor ends before the kernel is listed for a very long new list, because both have all elements", async () => {
  await opened(["nft"], veryLong(0));
  const second = veryLong(2);
  for (const [from, desired, isWatched] of [
    ["memory", veryLong(1), false],
    ["kernel", second, false],
    ["kernel", second, true],
  ] as const) {
    await nft("add rule ip ip-masq-agent postrouting counter");
    await agent.changed();
    await writeFile(LISTED, "");
    expect((await agent.sync(desired, { from })).after.inSync).toBe(true);
    expect((await readFile(LISTED, "utf8")).split("\n")[0]).toBe(isWatched ? "watched" : "unwatched");
    await agent.changed(); // the monitor listens again
  }
}, 60_000);

test("a very long list is new only once, even if each family is planned alone meanwhile", async () => {
  const memory = new Memory<Family, Table | null>();
  let pauses = 0;
  memory.onPause = isPaused => {
    if (isPaused) pauses++;
  };
  const backend = new NftablesBackend(lab.node.command(["nft"]), undefined, memory);
  const both = policy({ keep: [...veryLongList(1), "fd00::/8"] }, DUAL);
  for (const planned of [both, partOf(both, "ip"), partOf(both, "ip6"), both]) await backend.plan(planned);
  expect(pauses).toBe(1);
  await backend.plan(policy({ keep: veryLongList(2) }));
  expect(pauses).toBe(2);
  agent = Watched.watching(backend);
});

test("a very long list is written while the monitor is paused, which then finds a change made meanwhile", async () => {
  await opened(["nft"], veryLong(0));
  const load = await lab.load({ destinations: ["10.0.7.1", "203.0.113.7"], flowsPerSecond: 1000 });
  const { after } = await agent.sync(veryLong(1), { from: "memory" });
  const started = (await runs()).map(it => it.replace(/-[a-z]$/, ""));
  const lastCounts = "list set ip ip-masq-agent non-masquerade";
  expect(started).toEqual(["-f -", "-j -f -", CONFIRM, lastCounts, "-j -f -"]);
  expect(after.inSync).toBe(true);
  expect((await nft("list sets")).match(/set non-masquerade/g)).toHaveLength(1);
  await nft("add rule ip ip-masq-agent postrouting counter");
  await agent.changed();
  const found = await agent.sync(veryLong(1));
  expect([found.before.inSync, found.after.inSync]).toEqual([false, true]);
  expect([await owner("192.168.0.1"), await owner("192.168.1.1")]).toEqual(["node", "pod"]);
  const [kept, masqueraded] = await load.stop();
  const { before } = await agent.sync(veryLong(1));
  expect(before.inSync).toBe(true);
  const { keep, masquerade } = agent.totals.byVerdict;
  const [looks, misses] = [1, 1]; // of `owner`
  expect([keep.connections - looks, masquerade.connections - misses]).toEqual([
    kept?.fromPod ?? 0,
    masqueraded?.fromNode ?? 0,
  ]);
  await agent.sync(short(1), { from: "memory" });
  expect((await nft("list sets")).match(/set non-masquerade/g)).toHaveLength(1);
  await agent.changed(); // the monitor listens again
  expect((await agent.sync(short(1))).before.inSync).toBe(true);
}, 60_000);
