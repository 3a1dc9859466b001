import { expect, test } from "bun:test";
import type { Tally } from "../../lab/load.ts";
import { sync } from "../../src/backends/sync.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { labPerTest } from "../lab.ts";
import { policy } from "../policies.ts";
import { ROUNDS } from "../rounds.ts";
import { describeBackends } from "./backends-under-test.ts";
import { CONTROLS, KEPT, tryControl } from "./controls.ts";

const OUTBOUND = "203.0.113.7";

/** New flows per second to all destinations. */
const RATE = 20_000;

const CHANGES = 50 * ROUNDS;

/** Lists that both contain KEPT but not OUTBOUND, and differ in almost all other CIDRs. */
const ONE = ["10.0.0.0/8", "192.0.2.0/24", "100.64.0.0/10"];
const OTHER = ["198.18.0.0/15", "10.1.0.0/16", "172.16.0.0/12", "10.128.0.0/9"];
const one = policy({ keep: ONE });

/** The list changes each time, and whether kept connections are bound each second time. */
const IN_TURN = [enforced(OTHER), enforced(ONE), policy({ keep: OTHER }), one];

function enforced(keep: readonly string[]): Policy {
  return policy({ keep, enforce: true });
}

/** A foreign chain that masquerades all connections. Our chain in table nat can only bind before priority 100. */
const MASQUERADES = "table ip theirs { chain c { type nat hook postrouting priority 101; masquerade; }; }";

const lab = labPerTest();

describeBackends(
  ({ open }) => {
    test(`${CHANGES} changes under load give no wrong verdict and lose nothing`, async () => {
      const backend = open(lab);
      await sync(backend, one);
      const quiet = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: RATE, seconds: 1 });
      await quiet.ended;
      const lostAnyway = lost(await quiet.stop());
      const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: RATE });
      for (let i = 0; i < CHANGES; i++) {
        const { before } = await sync(backend, IN_TURN[i % IN_TURN.length] ?? one);
        expect(before.inSync).toBe(false);
      }
      const [kept, outbound] = await load.stop();
      expect(kept).toMatchObject({ fromNode: 0, other: 0 });
      expect(outbound).toMatchObject({ fromPod: 0, other: 0 });
      expect(lost([kept, outbound])).toBeLessThanOrEqual(lostAnyway);
    }, 120_000);

    test("bound connections stay kept while the list changes, and a rule that masquerades them comes and goes", async () => {
      const backend = open(lab);
      await sync(backend, enforced(ONE));
      await lab.node.output(["nft", `add ${MASQUERADES}`]);
      const load = await lab.load({ destinations: [KEPT], flowsPerSecond: RATE });
      for (let i = 0; i < CHANGES / 5; i++) {
        await sync(backend, enforced(i % 2 === 0 ? OTHER : ONE));
        const change = i % 3 === 0 ? "delete table ip theirs" : `add ${MASQUERADES}`;
        await lab.node.output(["nft", change]);
      }
      const [kept] = await load.stop();
      expect(kept).toMatchObject({ fromNode: 0, other: 0 });
      expect(kept?.fromPod).toBeGreaterThan(0);
    }, 120_000);

    test("a first install under load masquerades no kept connection", async () => {
      const backend = open(lab);
      const load = await lab.load({ destinations: [KEPT], flowsPerSecond: RATE });
      for (let i = 0; i < 20; i++) {
        await sync(backend, one);
        await backend.remove();
      }
      const [kept] = await load.stop();
      expect(kept).toMatchObject({ fromNode: 0, other: 0 });
    }, 60_000);
  },
  ["trixie"],
);

test(`control: ${CONTROLS.deleteAndAdd.title} gives wrong verdicts`, async () => {
  const { wrong } = await tryControl(lab, CONTROLS.deleteAndAdd, { changes: 200, flowsPerSecond: RATE });
  expect(wrong).toBeGreaterThan(0);
}, 60_000);

function lost(tallies: readonly (Tally | undefined)[]): number {
  return tallies.reduce((sum, tally) => sum + (tally?.lost ?? Number.POSITIVE_INFINITY), 0);
}
