import { afterEach, beforeEach, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import type { Lab } from "../../lab/lab.ts";
import { save } from "../../lab/save.ts";
import { Agent } from "../../src/agent/agent.ts";
import { type ConfigEvents, ConfigReader } from "../../src/agent/config-reader.ts";
import { DesiredPolicy } from "../../src/agent/desired-policy.ts";
import { NodeLock } from "../../src/agent/node-lock.ts";
import type { Backend } from "../../src/backends/backend.ts";
import type { Chosen } from "../../src/backends/choose.ts";
import { Failover } from "../../src/backends/failover.ts";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import { createLog } from "../../src/observe/log.ts";
import type { SyncRecord } from "../../src/observe/sync-stats.ts";
import { freshFolder, labPerFile } from "../lab.ts";
import { agentState, onSync } from "../observe/agent-states.ts";
import { DEFAULT_FLAGS } from "../policies.ts";
import { describeBackends } from "./backends-under-test.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/live/ip-masq-agent";
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

const lab = labPerFile();

describeBackends(({ open, tampering }) => {
  let life: Life;
  beforeEach(async () => {
    await freshFolder("/run/live", { "ip-masq-agent": "nonMasqueradeCIDRs: [10.0.0.0/8]\n" });
    life = new Life(open(lab));
    expect((await life.next("applied")).trigger).toBe("start");
  });
  afterEach(async () => {
    await life.end();
    await open(lab).remove();
  });

  test("a saved config is applied, and an invalid one changes nothing", async () => {
    expect(await owner(OUTBOUND)).toBe("node");
    const changed = life.next("applied");
    await save(CONFIG, "nonMasqueradeCIDRs: [203.0.113.0/24]\n");
    // When the monitor starts to listen, the agent also reads the kernel.
    expect((await changed).trigger).toMatch(/^(config|kernel)$/);
    expect(await owner(OUTBOUND)).toBe("pod");
    expect(await owner(KEPT)).toBe("node");

    const unchanged = life.next("unchanged");
    await save(CONFIG, "nonMasqueradeCIDRs: [203.0.113.1/24]\n");
    await unchanged;
    while (life.state.config?.ok) await Bun.sleep(1); // perhaps another trigger was first
    expect(await owner(OUTBOUND)).toBe("pod");
    expect(life.state.config?.ok).toBe(false);
    expect(life.state.unready).toBeUndefined();
    life.agent.requestSync();
    await life.next("unchanged");
    const errors = life.lines.filter(line => line.startsWith("ERROR"));
    expect(errors).toEqual([
      `ERROR ${CONFIG}:1:22: nonMasqueradeCIDRs[0]: "203.0.113.1/24" has host bits set; did you mean "203.0.113.0/24"?`,
      `ERROR config rejected, last good policy stays active config=${CONFIG}`,
    ]);

    const corrected = life.next("applied");
    await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8, 203.0.113.1/32]\n");
    await corrected;
    expect(await owner(KEPT)).toBe("pod");
  });

  test("after the config is removed, the defaults apply", async () => {
    const changed = life.next("applied");
    await rm(CONFIG);
    await changed;
    expect(await owner("192.168.1.1")).toBe("pod");
  });

  test.each(tampering.slice(0, 8).map(argv => [argv.join(" "), argv] as const))(
    "%s is undone at once",
    async (_command, argv) => {
      const repaired = life.next("repaired");
      await lab.node.output(argv);
      expect((await repaired).trigger).toBe("kernel");
      expect(await owner(KEPT)).toBe("pod");
      expect(await owner(OUTBOUND)).toBe("node");
      expect(life.lines.filter(line => line.includes("drift repaired"))).toHaveLength(1);
    },
  );

  test("a change that is repeated right after its repair is repaired again", async () => {
    const [flush = []] = tampering;
    for (let i = 0; i < 4; i++) {
      const repaired = life.next("repaired");
      await lab.node.output(flush);
      await repaired;
    }
    expect(await owner(OUTBOUND)).toBe("node");
  });

  test("changes to other tables trigger no sync", async () => {
    await Bun.sleep(100); // until the agent has verified its own write
    await lab.node.output(["nft", "add table ip theirs { chain ip-masq-agent { }; }"]);
    await lab.node.output(["nft", "delete table ip theirs"]);
    const next = life.next("unchanged");
    await Bun.sleep(100);
    life.agent.requestSync();
    expect((await next).trigger).toBe("signal");
  });

  test("changes of foreign rules are reported with their place, if the kernel names it", async () => {
    const tells = life.agent.backend.writer !== "iptables-legacy";
    life.foreign.length = 0;
    const theirs = "add table ip theirs; add chain ip theirs c { type nat hook postrouting priority 90; }";
    await lab.node.output(["nft", `${theirs}; add rule ip theirs c ip daddr 192.0.2.0/24 accept`]);
    const reported = (where: string) => life.foreign.includes(where);
    if (tells) while (!reported("a new base chain") || !reported("ip theirs c")) await Bun.sleep(1);
    await lab.node.output(["nft", "delete table ip theirs"]);
    if (tells) while (!reported("ip theirs")) await Bun.sleep(1);
    else expect(life.foreign).toEqual([]);
  });

  test("bursts of triggers cause few syncs, and a sync that changes nothing logs nothing", async () => {
    const lines = life.lines.length;
    const before = life.state.syncs.length;
    for (let i = 0; i < 1000; i++) life.agent.requestSync();
    await life.next("unchanged");
    expect(life.state.syncs.length - before).toBeLessThan(5);
    expect(life.lines.length).toBe(lines);
  });

  test("counters continue across a change of rules", async () => {
    await lab.connect({ protocol: "udp", to: KEPT });
    await lab.connect({ protocol: "udp", to: OUTBOUND });
    const changed = life.next("applied");
    await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\n");
    await changed;
    await lab.connect({ protocol: "udp", to: KEPT });
    const { totals } = life.state;
    const ofCidr = () => totals.counters.find(({ cidr }) => cidr?.text === "10.0.0.0/8")?.connections;
    // A reading is dropped if a sync began meanwhile.
    for (let i = 0; i < 10 && ofCidr() !== 2; i++) await life.agent.readCounters();
    expect(ofCidr()).toBe(2);
    expect(totals.byVerdict.masquerade.connections).toBe(1);
  });
});

/** A backend without a fallback. */
function only(backend: Backend): Chosen {
  const migrating = new MigratingBackend(backend, []);
  return { backend: migrating, reason: "the only one", alternatives: [migrating], ownTable: undefined };
}

async function owner(to: string): Promise<ReturnType<Lab["owner"]>> {
  return lab.ownerSeen({ protocol: "udp", to });
}

/** An agent that runs until `end`, with its events. */
class Life {
  readonly lines: string[] = [];
  /** The places of reported changes of foreign rules. */
  readonly foreign: string[] = [];
  readonly state = agentState();
  readonly agent: Agent;
  readonly #lock: NodeLock;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor(backend: Backend) {
    const log = createLog("info", "text", line => this.lines.push(line.trimEnd().replace(/^\S+ /, "")));
    const times = { quiet: 300, deadline: 5000 };
    const { state } = this;
    const settings = { config: CONFIG, flags: DEFAULT_FLAGS, resyncInterval: undefined };
    const open = (events: ConfigEvents) => new ConfigReader(CONFIG, events, times);
    const desired = new DesiredPolicy(settings, state, log, open);
    this.#lock = new NodeLock("/run/ipmasq", log, {});
    this.agent = new Agent({ desired, backend: new Failover(only(backend)), state, log, lock: this.#lock });
    const foreign = (where: string | undefined) => this.foreign.push(where ?? "a new base chain");
    this.#ended = this.agent.run(this.#stop.signal, { foreign });
  }

  /** Waits for the next sync with this result. */
  next(result: SyncRecord["result"]): Promise<SyncRecord> {
    return new Promise(resolve => {
      onSync(this.state, sync => {
        if (sync.result === result) resolve(sync);
      });
    });
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    this.#lock.release();
  }
}
