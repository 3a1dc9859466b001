import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { sync } from "../../src/backends/sync.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { CrashingNft } from "./crashing-nft.ts";
import { Watched } from "./watched.ts";

/** Faults of `nft monitor` around an own write of a long list, and a foreign change that the confirmation cannot see. */

const lab = labPerFile();
let program: CrashingNft;
let agent: Watched;
beforeEach(async () => {
  program = await CrashingNft.create(undefined, true);
});
afterEach(async () => {
  await program.signalMonitors("SIGCONT");
  agent.stop();
  await lab.flushRules();
});

const nft = (commands: string) => lab.node.output(["nft", "-f", "-"], { input: commands });
const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const long = (last: number): Policy =>
  policy({
    keep: [...Array.from({ length: 1500 }, (_, i) => `10.${i >> 8}.${i & 255}.0/28`), `192.168.${last}.0/24`],
  });

/** Starts an agent that remembers the actual rules. */
async function opened(wanted: Policy): Promise<void> {
  agent = new Watched(lab.node.command([`${program.folder}/nft`]));
  await agent.sync(wanted);
  do {
    await agent.changed();
    await agent.sync(wanted);
  } while (!(await agent.backend.plan(wanted, "memory")).isRemembered);
}

/** Adds an element to the set that the rules use after the write. */
const tamper = () => nft("add element ip ip-masq-agent non-masquerade-b { 203.0.113.0/24 }");

const MOMENTS = ["before the confirmation", "after the confirmation"] as const;

/** Writes a change from memory, and runs `fault` at this moment. */
async function change(moment: (typeof MOMENTS)[number], fault: () => Promise<unknown>): Promise<void> {
  const { backend } = agent;
  const wanted = long(2);
  const synced = await sync(
    {
      async plan(part, from) {
        const plan = await backend.plan(part, from);
        return {
          ...{ actual: plan.actual, desired: plan.desired, inSync: plan.inSync, writer: plan.writer },
          ...{ counters: plan.counters, isRemembered: plan.isRemembered },
          async apply() {
            const counters = await plan.apply();
            if (moment === "before the confirmation") await fault();
            return counters;
          },
          confirm: () => plan.confirm(),
        };
      },
    },
    wanted,
    { from: "memory" },
  );
  expect([synced.before.isRemembered, synced.after.isRemembered]).toEqual([true, true]);
  if (moment === "after the confirmation") await fault();
}

/** The sync after a report, or at the resync interval, repairs the foreign change, and the next one changes nothing. */
async function repairs(): Promise<void> {
  expect(await owner("203.0.113.7")).toBe("pod"); // control
  expect((await agent.sync(long(2))).before.inSync).toBe(false);
  expect([await owner("203.0.113.7"), await owner("192.168.2.1")]).toEqual(["node", "pod"]);
  expect((await agent.sync(long(2))).before.inSync).toBe(true);
}

describe.each(MOMENTS)("a foreign change %s", moment => {
  test.each<[fault: string, begin: () => Promise<unknown>, end: () => Promise<unknown>]>([
    ["works", async () => {}, async () => {}],
    ["is killed", () => program.signalMonitors("SIGKILL"), async () => {}],
    ["lags", () => program.signalMonitors("SIGSTOP"), () => program.signalMonitors("SIGCONT")],
    ["repeats a transaction", () => program.lie("repeats one"), async () => {}],
    ["drops a transaction", () => program.lie("drops one"), () => nft("add table ip other")],
  ])("is reported by a monitor that %s", async (_fault, begin, end) => {
    await opened(long(1));
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
    await opened(long(1));
    await program.lie("silent");
    const before = agent.changes;
    await change(moment, tamper);
    await repairs();
    expect(agent.changes).toBe(before);
  });
});

test("after a dropped or repeated transaction, nothing is remembered", async () => {
  await opened(long(1));
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
  await change("after the confirmation", async () => {});
  await program.signalMonitors("SIGCONT");
  while (agent.changes === before) await agent.changed(); // neither own nor other tables' transactions are a change
  expect((await agent.backend.plan(long(9), "memory")).isRemembered).toBe(false);
  expect((await agent.sync(long(2))).before.inSync).toBe(true);
});

test("a monitor that reads many elements at its start does not count as listening meanwhile", async () => {
  const elements = Array.from({ length: 100_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  await nft(`add table ip other { set s { type ipv4_addr; elements = { ${elements.join(", ")} }; }; }`);
  agent = new Watched(lab.node.command([`${program.folder}/nft`]));
  await agent.sync(long(1));
  await agent.changed(); // the monitor listens
  const before = agent.changes;
  await nft("flush chain ip ip-masq-agent postrouting");
  while (agent.changes === before) await agent.changed();
  expect((await agent.sync(long(1))).before.inSync).toBe(false);
});
