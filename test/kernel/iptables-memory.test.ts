import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFile, writeFile } from "node:fs/promises";
import type { Backend, Watch } from "../../src/backends/backend.ts";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import { type Synced, type SyncOptions, sync } from "../../src/backends/sync.ts";
import { Totals } from "../../src/observe/totals.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { ROUNDS } from "../rounds.ts";
import { describeBackends } from "./backends-under-test.ts";

const lab = labPerFile();
const RUNS = "/run/iptables-runs";
/** Records its command, then runs it. */
const RECORDING = ["sh", "-c", `echo "$*" >>${RUNS}; exec "$@"`, "sh"];

/** Lists that are confirmed by a look at POSTROUTING, and lists that are always listed. */
const MANY = Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/28`);
const long = (...more: string[]) => policy({ keep: [...MANY, ...more], masqLinkLocal: true });
const short = (...more: string[]) => policy({ keep: ["10.0.0.0/8", ...more], masqLinkLocal: true });
const ADDED = "192.168.1.0/24";
const OTHER = "192.168.2.0/24";

const CHANGES = 12 * ROUNDS;

const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });

/** A backend that is watched, like the agent's. */
class Watched {
  readonly totals = new Totals();
  readonly #backend: MigratingBackend;
  readonly #watch: Watch;
  changes = 0;
  #woken = Promise.withResolvers<void>();

  constructor(backend: Backend) {
    this.#backend = new MigratingBackend(backend, []);
    const changed = () => {
      this.changes++;
      this.#woken.resolve();
    };
    this.#watch = this.#backend.watch({ changed, lost: () => {}, foreign: () => {} });
  }

  /** Resolves at the next change that is reported. */
  async changed(): Promise<void> {
    await this.#woken.promise;
    this.#woken = Promise.withResolvers();
  }

  async sync(desired: Policy, options: SyncOptions = {}): Promise<Synced> {
    const synced = await this.#backend.sync(desired, { tally: this.totals, ...options });
    this.totals.keep(desired);
    return synced;
  }

  async read(desired: Policy): Promise<void> {
    this.totals.read(await this.#backend.plan(desired));
  }

  stop(): void {
    this.#watch.stop();
  }
}

/** The kinds of commands since the last call: `list`, `look` (at POSTROUTING only), `write`. */
async function runs(): Promise<string[]> {
  const lines = (await readFile(RUNS, "utf8")).trim().split("\n");
  await writeFile(RUNS, "");
  return lines.flatMap(line => {
    if (line.includes("restore") || line.includes("-f -")) return ["write"];
    if (line.includes("POSTROUTING")) return ["look"];
    return /IP-MASQ-AGENT|-save/.test(line) ? ["list"] : [];
  });
}

describeBackends(({ open }) => {
  const { writer, name } = open(lab);
  if (name !== "iptables") return;
  const isWatched = writer !== "iptables-legacy";

  let agent: Watched;
  beforeEach(async () => {
    await writeFile(RUNS, "");
    agent = new Watched(open(lab, RECORDING));
  });
  afterEach(async () => {
    agent.stop();
    await open(lab).remove();
  });

  /** Waits until the actual rules are remembered. */
  const opened = async (desired: Policy) => {
    await agent.sync(desired);
    if (!isWatched) return;
    do {
      await agent.changed();
      await agent.sync(desired);
      // The monitor may report the first write only now. A later write would be taken for a foreign one.
      await Bun.sleep(300);
      await runs();
      await agent.sync(desired, { from: "memory" });
    } while ((await runs()).length > 0);
  };

  if (isWatched) {
    test("an added CIDR is written without a listing, and a removed one after a listing of its counts", async () => {
      await opened(long());
      const added = await agent.sync(long(ADDED), { from: "memory" });
      expect([added.before.inSync, added.after.inSync]).toEqual([false, true]);
      expect(await runs()).not.toContain("list");
      expect(await owner("192.168.1.1")).toBe("pod");
      const changed = await agent.sync(long(OTHER), { from: "memory" });
      expect([changed.before.inSync, changed.after.inSync]).toEqual([false, true]);
      const kinds = (await runs()).filter(it => it !== "look");
      expect(kinds).toEqual(["list", "write"]);
      expect([await owner("192.168.1.1"), await owner("192.168.2.1")]).toEqual(["node", "pod"]);
      expect((await agent.sync(long(OTHER))).before.inSync).toBe(true);
      await agent.sync(short(), { from: "memory" });
      expect((await runs()).slice(-2)).toContain("list"); // short lists are verified at once
    }, 20_000);

    test("our writes are not reported, and foreign changes before, between and after them are", async () => {
      const flush = () => lab.node.output(["nft", "flush chain ip nat IP-MASQ-AGENT"]);
      await opened(long());
      const before = agent.changes;
      for (const last of [ADDED, OTHER, ADDED]) await agent.sync(long(last), { from: "memory" });
      await Bun.sleep(500); // the monitor has printed all of it
      expect(agent.changes).toBe(before);
      await flush();
      await agent.changed();
      expect((await agent.sync(long(ADDED), { from: "memory" })).before.inSync).toBe(false);
      const writing = agent.sync(long(OTHER), { from: "memory" }).catch(() => {});
      await flush();
      await writing;
      await agent.changed();
      await agent.sync(long(OTHER));
      expect([await owner("192.168.2.1"), await owner("203.0.113.7")]).toEqual(["pod", "node"]);
    }, 20_000);
  } else {
    test("one of our writes is not answered by another comparison, and a foreign change is found by polling", async () => {
      await opened(short());
      await agent.sync(short(ADDED));
      await Bun.sleep(300);
      await runs();
      const before = agent.changes;
      await agent.sync(short(OTHER), { from: "memory" });
      expect((await runs()).filter(it => it === "write")).toEqual(["write"]);
      await Bun.sleep(300);
      const polls = (await readFile(RUNS, "utf8")).split("\n").filter(line => line.includes("-save"));
      // One poll may have begun before the write was verified.
      expect(polls.filter(line => line.includes("--counters")).length).toBeLessThanOrEqual(1);
      expect(agent.changes).toBe(before);
      await lab.node.output(["iptables-legacy", "-t", "nat", "-F", "IP-MASQ-AGENT"]);
      await agent.changed();
      expect((await agent.sync(short(OTHER))).before.inSync).toBe(false);
    });
  }

  test(
    `no connection is lost or counted twice across ${CHANGES} changes of other CIDRs`,
    async () => {
      await opened(long("192.168.0.0/24"));
      const load = await lab.load({ destinations: ["10.0.7.1", "203.0.113.7"], flowsPerSecond: 1000 });
      for (let i = 1; i <= CHANGES; i++) {
        const kept = i % 3 === 0 ? [`192.168.${i}.0/24`, ADDED] : [`192.168.${i}.0/24`];
        await agent.sync(long(...kept), { from: "memory" });
      }
      const [kept, masqueraded] = await load.stop();
      await agent.read(long(`192.168.${CHANGES}.0/24`, ADDED));
      const { keep, masquerade } = agent.totals.byVerdict;
      expect([keep.connections, masquerade.connections]).toEqual([
        kept?.fromPod ?? 0,
        masqueraded?.fromNode ?? 0,
      ]);
      expect([kept?.fromNode, masqueraded?.fromPod]).toEqual([0, 0]);
    },
    60_000 * ROUNDS,
  );

  test("a change of rules that another program removed meanwhile is refused, and succeeds at the next try", async () => {
    await opened(short(ADDED));
    const backend = open(lab);
    const plan = await backend.plan(short(OTHER));
    await lab.node.output(
      writer === "nft"
        ? ["nft", "flush chain ip nat IP-MASQ-AGENT"]
        : [writer, "-t", "nat", "-F", "IP-MASQ-AGENT"],
    );
    await expect(plan.apply()).rejects.toThrow();
    const { after } = await sync(backend, short(OTHER));
    expect(after.inSync).toBe(true);
    expect([await owner("192.168.1.1"), await owner("192.168.2.1")]).toEqual(["node", "pod"]);
  });

  test("single rules are changed anywhere in a chain", async () => {
    const all = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "100.64.0.0/10", "172.16.0.0/12"];
    const without = (...gone: number[]) =>
      policy({
        keep: all.filter((_, i) => !gone.includes(i)),
        masquerade: ["10.0.0.0/8"],
        masqLinkLocal: true,
      });
    const backend = open(lab);
    for (const desired of [without(0), without(4), without(1, 3), without(), without(0, 1, 4), without(2)]) {
      const { after } = await sync(backend, desired);
      expect(after.actual).toEqual([...after.desired]);
      expect((await sync(open(lab), desired)).before.inSync).toBe(true);
    }
  });
}, process.env.BACKEND_SUITES?.split(" ") ?? []);
