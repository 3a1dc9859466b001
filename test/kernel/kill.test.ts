import { beforeEach, expect, test } from "bun:test";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { save } from "../../lab/save.ts";
import { WRITERS } from "../../lab/writers.ts";
import { freshFolder, labPerTest } from "../lab.ts";
import { ROUNDS } from "../rounds.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/kill/ip-masq-agent";
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

/** For each config, an address that only it keeps. Both keep KEPT, and OUTBOUND is masqueraded. */
const CONFIGS = [
  { kept: "192.0.2.1", text: "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24, 100.64.0.0/10]\n" },
  { kept: "198.18.0.1", text: "nonMasqueradeCIDRs: [198.18.0.0/15, 10.1.0.0/16, 172.16.0.0/12]\n" },
] as const;

/** An emulated machine (test/long/kernels) runs fewer rounds. */
const KILLS = Number(process.env.KILLS ?? 50 * ROUNDS);

/** Two of the kills do not come at random, so that few kills see both rulesets too. */
const [KILL_BEFORE_WRITE, KILL_AFTER_WRITE] = [0, 2];

const lab = labPerTest();
beforeEach(() => freshFolder("/run/kill"));

test.each(WRITERS)(
  "kill -9 at any moment of a change leaves one of two valid rulesets: $name",
  async ({ flags, prepare }) => {
    const argv = [`--config=${CONFIG}`, ...flags];
    await save(CONFIG, CONFIGS[0].text);
    await prepare(lab);
    const began = performance.now();
    await (await RunningAgent.started(lab.node, argv)).end("SIGKILL");
    // About as long as a config change takes: 50 ms, or 1 s under emulation.
    const start = performance.now() - began;
    const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: 5000 });
    const seen = new Set<number>();
    for (let i = 0; i < KILLS; i++) {
      const agent = RunningAgent.start(lab.node, argv);
      await Bun.sleep(1.2 * start * Math.random());
      await save(CONFIG, CONFIGS[i % 2 === 0 ? 1 : 0].text);
      if (i === KILL_AFTER_WRITE) await lab.ownerBecomes({ protocol: "udp", to: CONFIGS[1].kept }, "pod");
      else if (i !== KILL_BEFORE_WRITE) await Bun.sleep(1.4 * start * Math.random());
      await agent.end("SIGKILL");
      const look = () => Promise.all(CONFIGS.map(async it => (await owner(it.kept)) === "pod"));
      // A program that the agent started continues without it, and can write between two connections.
      const [first, second] = await look();
      const kept = first === second ? await look() : [first, second];
      expect(kept.toSorted(), `after kill ${i}`).toEqual([false, true]);
      seen.add(kept.indexOf(true));
    }
    expect(seen).toEqual(new Set([0, 1]));
    const last = RunningAgent.start(lab.node, argv);
    await last.log.until("policy in force");
    await Bun.sleep(4 * start);
    const rules = await everything();
    expect(await last.end()).toBe(0);
    const [kept, outbound] = await load.stop();
    expect(kept).toMatchObject({ fromNode: 0, other: 0 });
    expect(outbound).toMatchObject({ fromPod: 0, other: 0 });

    await lab.node.output([BINARY, "cleanup"]);
    await (await RunningAgent.started(lab.node, argv)).end();
    expect(rules).toEqual(await everything());
  },
  300_000,
);

async function owner(to: string): Promise<string> {
  return lab.ownerSeen({ protocol: "udp", to });
}

/**
 * All lines of the node's rules, without counters and set generations, independent of the order of the chains.
 */
async function everything(): Promise<string[]> {
  const ruleset = await lab.node.output(["nft", "-s", "list", "ruleset"]);
  const legacy = await lab.node.output(["iptables-legacy-save"]);
  return `${ruleset}${legacy}`
    .replace(/counter packets \d+ bytes \d+ |\[\d+:\d+\]|^#.*\n/gm, "")
    .replaceAll("masquerade-b", "masquerade-a")
    .split("\n")
    .filter(line => line !== "")
    .toSorted();
}
