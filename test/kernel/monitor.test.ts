import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Backend } from "../../src/backends/backend.ts";
import { Memory } from "../../src/backends/memory.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { labPerTest } from "../lab.ts";
import { policy } from "../policies.ts";
import { iptables } from "./backends-under-test.ts";
import { CrashingNft } from "./crashing-nft.ts";
import { Watched } from "./watched.ts";

/** Faults of `nft monitor` around our write of a long list, and a foreign change that the confirmation cannot see. */

/** A test that fails or times out must not disturb the next one, so each has its own rules and programs. */
const lab = labPerTest();
let program: CrashingNft;
let agent: Watched;
const started: Watched[] = [];
beforeEach(async () => {
  program = await CrashingNft.create(undefined, true);
});
afterEach(() => {
  for (const it of started.splice(0)) it.stop();
});

const nft = (commands: string) => lab.node.output(["nft", "-f", "-"], { input: commands });
const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const MANY = Array.from({ length: 1500 }, (_, i) => `10.${i >> 8}.${i & 255}.0/28`);
const long = (last: number): Policy =>
  policy({ keep: [...MANY, ...Array.from({ length: last }, (_, i) => `192.168.${i + 1}.0/24`)] });

interface Target {
  open(): Backend;
  /** Keeps 203.0.113.0/24, in the set that the rules use after a write, or by a rule. */
  readonly tamper: string;
}

/** @param timeout milliseconds until one of our transactions must be reported */
const nftables = (timeout?: number) =>
  new NftablesBackend(lab.node.command([...program.environment, "nft"]), undefined, new Memory(timeout));

const NFTABLES: Target = {
  open: () => nftables(),
  tamper: "nft add element ip ip-masq-agent non-masquerade-b { 203.0.113.0/24 }",
};
const IPTABLES: Target = {
  open: () => iptables("iptables-nft").open(lab, program.environment),
  tamper: "iptables-nft -t nat -I IP-MASQ-AGENT -d 203.0.113.0/24 -j RETURN",
};

async function opened(desired: Policy, backend: Backend = NFTABLES.open()): Promise<void> {
  agent = await Watched.open(backend, desired, it => started.push(it));
  await nft("add table ip first"); // a missing transaction is noticed only after another one
}

const BEFORE = "before the confirmation";
const AFTER = "after the confirmation";

/** Writes a change from memory, and runs `fault` at this moment. */
async function change(moment: typeof BEFORE | typeof AFTER, fault: () => Promise<unknown>): Promise<void> {
  const { backend } = agent;
  const desired = long(2);
  const synced = await sync(
    {
      async plan(part, from) {
        const plan = await backend.plan(part, from);
        return {
          actual: plan.actual,
          desired: plan.desired,
          inSync: plan.inSync,
          isRemembered: plan.isRemembered ?? false,
          writer: plan.writer,
          counters: plan.counters,
          async apply() {
            const counters = await plan.apply();
            if (moment === BEFORE) await fault();
            return counters;
          },
          confirm: async () => plan.confirm?.(),
        };
      },
    },
    desired,
    { from: "memory" },
  );
  expect([synced.before.isRemembered, synced.after.isRemembered]).toEqual([true, true]);
  if (moment === AFTER) await fault();
}

/** The sync after a report, or at the resync interval, repairs the foreign change, and the next one changes nothing. */
async function repairs(): Promise<void> {
  expect(await owner("203.0.113.7")).toBe("pod"); // control
  expect((await agent.sync(long(2))).before.inSync).toBe(false);
  expect([await owner("203.0.113.7"), await owner("192.168.2.1")]).toEqual(["node", "pod"]);
  expect((await agent.sync(long(2))).before.inSync).toBe(true);
}

describe.each([
  { name: "nftables", target: NFTABLES, moment: BEFORE },
  { name: "nftables", target: NFTABLES, moment: AFTER },
  { name: "iptables-nft", target: IPTABLES, moment: AFTER },
] as const)("$name: a foreign change $moment", ({ target, moment }) => {
  const tamper = () => lab.node.output(target.tamper.split(" "));

  test.each<[fault: string, begin: () => Promise<unknown>, end: () => Promise<unknown>]>([
    ["works", async () => {}, async () => {}],
    ["is killed", () => program.signalMonitors("SIGKILL"), async () => {}],
    ["lags", () => program.signalMonitors("SIGSTOP"), () => program.signalMonitors("SIGCONT")],
    ["repeats a transaction", () => program.lie("repeats one"), async () => {}],
    ["drops a transaction", () => program.lie("drops one"), () => nft("add table ip other")],
  ])("is reported by a monitor that %s", async (_fault, begin, end) => {
    await opened(long(1), target.open());
    const before = agent.changes;
    await change(moment, async () => {
      await begin();
      await tamper();
      await end();
    });
    while (agent.changes === before) await agent.changed();
    await repairs();
  });

  test("is found at the resync interval if the monitor reports nothing", async () => {
    await opened(long(1), target.open());
    await program.lie("silent");
    const before = agent.changes;
    await change(moment, tamper);
    await repairs();
    expect(agent.changes).toBe(before);
  });
});

test("after a dropped or repeated transaction, nothing is remembered", async () => {
  await opened(long(1), nftables(1000));
  for (const [i, lie] of (["drops one", "repeats one"] as const).entries()) {
    const before = agent.changes;
    await program.lie(lie);
    await agent.sync(long(2 + i), { from: "memory" });
    while (agent.changes === before) await agent.changed();
    expect((await agent.backend.plan(long(9), "memory")).isRemembered).toBe(false);
    expect((await agent.sync(long(2 + i))).before.inSync).toBe(true);
  }
});

test("after lost events, all rules are compared", async () => {
  await opened(long(1));
  const before = agent.changes;
  await program.signalMonitors("SIGSTOP");
  const elements = Array.from({ length: 60_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`).join(", ");
  await nft("add table ip other { set s { type ipv4_addr; }; }");
  for (let i = 0; i < 3; i++) await nft(`flush set ip other s\nadd element ip other s { ${elements} }`);
  await change(AFTER, async () => {});
  await program.signalMonitors("SIGCONT");
  while (agent.changes === before) await agent.changed(); // neither own nor other tables' transactions are a change
  expect((await agent.backend.plan(long(9), "memory")).isRemembered).toBe(false);
  expect((await agent.sync(long(2))).before.inSync).toBe(true);
  expect(agent.foreign).toBeGreaterThan(0);
});

test("after the end of a monitor, foreign rules may have changed too", async () => {
  await opened(long(1));
  expect(agent.foreign).toBe(0);
  await program.signalMonitors("SIGKILL");
  while (agent.foreign === 0) await agent.changed();
});

test("a monitor that reads many elements at its start does not count as listening meanwhile", async () => {
  const elements = Array.from({ length: 100_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  await nft(`add table ip other { set s { type ipv4_addr; elements = { ${elements.join(", ")} }; }; }`);
  await opened(long(1));
  const before = agent.changes;
  await nft("flush chain ip ip-masq-agent postrouting");
  while (agent.changes === before) await agent.changed();
  expect((await agent.sync(long(1))).before.inSync).toBe(false);
});
