import { afterAll, beforeAll, describe, expect, jest, test } from "bun:test";
import { cleanUpOnExit } from "../../src/agent/housekeeping.ts";
import type { FailureKind } from "../../src/system/program.ts";
import { FakeAgent, settled } from "./fake-agent.ts";

beforeAll(() => void jest.useFakeTimers());
afterAll(() => void jest.useRealTimers());

const KEEP = "nonMasqueradeCIDRs: [10.0.0.0/8]";
const KEPT = "ip keeps 10.0.0.0/8 169.254.0.0/16";
const IN_FORCE = inForce("169.254.0.0/16 10.0.0.0/8");
const APPLIED = "INFO  rules applied added=1 removed=0";
const OTHER = { pid: 812, version: "0.1.0", since: "2026-11-26T08:15:00.000Z" };

/** Starts an agent, does the work, and ends the agent. */
async function running(config: string, work: (agent: FakeAgent) => Promise<void>, agent = new FakeAgent()) {
  agent.config.set(config);
  await agent.start();
  await work(agent);
  await agent.end();
}

function inForce(cidrs: string): string {
  return `INFO  policy in force chain=IP-MASQ-AGENT toPorts=any randomFully=yes nonMasqueradeCIDRs="${cidrs}"`;
}

test("it syncs at start, at each resync interval, at SIGHUP and when the config changes", () =>
  running(KEEP, async agent => {
    expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
    await agent.pass(120_500);
    agent.requestSync();
    await agent.pass(500);
    agent.config.set(`${KEEP}\nresyncInterval: 10s`);
    await agent.pass(10_500);
    agent.config.set("nonMasqueradeCIDRs: [192.0.2.0/24]");
    await settled();
    expect(agent.kernel()).toEqual(["nft: ip keeps 169.254.0.0/16 192.0.2.0/24"]);
    expect(agent.syncs()).toEqual([
      "0 ms start: applied",
      "60000 ms interval: unchanged",
      "120000 ms interval: unchanged",
      "120500 ms signal: unchanged",
      "121000 ms config: unchanged",
      "131000 ms interval: unchanged",
      "131500 ms config: applied",
    ]);
    expect(agent.lines()).toEqual([
      APPLIED,
      IN_FORCE,
      IN_FORCE,
      `INFO  rules applied added=1 removed=1 firstAdded="ip keeps 169.254.0.0/16 192.0.2.0/24" firstRemoved="${KEPT}"`,
      inForce("169.254.0.0/16 192.0.2.0/24"),
    ]);
  }));

test("an invalid config changes nothing, and drift is still repaired", () =>
  running(KEEP, async agent => {
    agent.config.set("nonMasqueradeCIDRs: [10.0.0.1/8]");
    await settled();
    expect(agent.lines().at(-1)).toBe("ERROR config rejected, last good policy stays active config=/config");
    agent.backends.nft.flush("nft (pid 7)");
    await settled();
    expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
    expect(agent.lines()).toEqual(['WARN  drift repaired added=1 removed=0 by="nft (pid 7)"']);
    expect(agent.syncs()).toEqual(["0 ms start: applied", "0 ms config: unchanged", "0 ms kernel: repaired"]);
  }));

test("each policy is announced once, so that conflicts are judged by it", () =>
  running(KEEP, async agent => {
    agent.requestSync();
    await settled();
    expect(agent.newPolicies).toBe(1);
    for (const config of ["nonMasqueradeCIDRs: [192.0.2.0/24]", "nonMasqueradeCIDRs: [10.0.0.1/8]"]) {
      agent.config.set(config);
      await settled();
    }
    expect(agent.newPolicies).toBe(2);
  }));

test("without a valid config it writes nothing", () =>
  running("nonMasqueradeCIDRs: [10.0.0.1/8]", async agent => {
    expect(agent.lines().at(-1)).toBe("ERROR config rejected, no rules are written config=/config");
    await agent.pass(60_500);
    expect([agent.kernel(), agent.syncs()]).toEqual([
      [],
      ["0 ms start: failed", "60000 ms interval: failed"],
    ]);
    agent.config.set(KEEP);
    await settled();
    expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
  }));

test("a repair says how many rules were added and removed, with the first of each", () =>
  running(KEEP, async agent => {
    const { nft } = agent.backends;
    nft.kernel.set("ip", "ip keeps 0.0.0.0/0");
    for (const watcher of nft.watchers) watcher.changed();
    await settled();
    const facts = `added=1 removed=1 firstAdded="${KEPT}" firstRemoved="ip keeps 0.0.0.0/0"`;
    expect(agent.lines().at(-1)).toBe(`WARN  drift repaired ${facts}`);
    expect(agent.state.syncs.at(-1)?.message).toBe(facts.replaceAll('"', ""));
  }));

describe("a sync that fails", () => {
  test("is retried after 1 s, then later each time, and is logged once", () =>
    running(KEEP, async agent => {
      agent.lines();
      agent.backends.nft.become("exhausted");
      agent.requestSync();
      await agent.pass(47_000);
      expect(agent.syncs().slice(1)).toEqual([
        "0 ms signal: failed",
        ...[1000, 3000, 7000, 15_000, 30_000, 45_000].map(at => `${at} ms interval: failed`),
      ]);
      agent.backends.nft.become("ok");
      await agent.pass(15_000);
      expect(agent.syncs()).toEqual(["60000 ms interval: unchanged"]);
      expect(agent.lines()).toEqual([
        'ERROR sync failed error="nft: exhausted" retry=1s',
        "INFO  sync works again failures=7",
      ]);
    }));

  test("is logged again when the reason changes", () =>
    running(KEEP, async agent => {
      const kinds: FailureKind[] = ["exhausted", "exhausted", "too-large"];
      for (const kind of kinds) {
        agent.backends.nft.become(kind);
        agent.requestSync();
        await settled();
      }
      expect(agent.lines().slice(2)).toEqual([
        'ERROR sync failed error="nft: exhausted" retry=1s',
        'ERROR sync failed error="nft: too-large" retry=4s',
      ]);
    }));

  test("delays repairs, but not SIGHUP and a new config", () =>
    running(KEEP, async agent => {
      agent.backends.nft.become("exhausted");
      agent.backends.nft.flush();
      await settled();
      agent.backends.nft.become("ok");
      agent.backends.nft.flush();
      await agent.pass(500);
      expect(agent.kernel()).toEqual([]);
      agent.requestSync();
      await settled();
      expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
    }));
});

describe("when the program of its backend fails", () => {
  test("another backend writes the rules until the preferred one works again", () =>
    running(KEEP, async agent => {
      const { nft } = agent.backends;
      agent.lines();
      nft.become("crashed");
      agent.requestSync();
      await settled();
      // nft cannot remove its own rules yet, which are the same.
      expect(agent.kernel()).toEqual([`iptables-nft: ${KEPT}`, `nft: ${KEPT}`]);
      expect(agent.state.warnings.get("fallback")).toBe(
        "iptables-nft writes the rules because nft fails: nft: crashed",
      );
      expect(agent.state.backend).toMatchObject({ writer: "iptables-nft", fallback: true });
      agent.config.set("nonMasqueradeCIDRs: [192.0.2.0/24]");
      await agent.pass(9000);
      const changed = "ip keeps 169.254.0.0/16 192.0.2.0/24";
      expect(agent.kernel()).toEqual([`iptables-nft: ${changed}`, `nft: ${KEPT}`]);
      nft.become("ok");
      await agent.pass(2000);
      expect(agent.kernel()).toEqual([`nft: ${changed}`]);
      expect(agent.state.backend).toMatchObject({ writer: "nft", fallback: false });
      expect([...agent.state.warnings]).toEqual([]);
      expect(agent.syncs().slice(1)).toEqual([
        "0 ms signal: applied",
        "0 ms config: applied",
        "10000 ms interval: applied",
      ]);
    }));

  test("the preferred one is tried after 10 s, then later each time", () =>
    running(KEEP, async agent => {
      agent.backends.nft.become("crashed");
      const tries: number[] = [];
      const began = performance.now();
      const check = agent.backends.nft.check.bind(agent.backends.nft);
      agent.backends.nft.check = () => {
        tries.push(performance.now() - began);
        return check();
      };
      agent.requestSync();
      await agent.pass(151_000);
      expect(tries).toEqual([10_000, 30_000, 70_000, 150_000]);
    }));

  test("a fallback from the start is a warning until the preferred one works", async () => {
    await running(
      KEEP,
      async agent => {
        const warning = "iptables-nft writes the rules because nft fails: nft: crashed";
        expect(agent.lines()[0]).toBe(`WARN  ${warning}`);
        expect(agent.state.warnings.get("fallback")).toBe(warning);
        agent.backends.nft.become("ok");
        await agent.pass(10_000);
        expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
        expect(agent.lines()).toContain("INFO  nft writes the rules again before=iptables-nft");
        expect(agent.state.warnings.has("fallback")).toBe(false);
      },
      new FakeAgent("nft crashes"),
    );
  });

  test("without a valid config the preferred one is not tried", async () => {
    await running(
      "nonMasqueradeCIDRs: [10.0.0.1/8]",
      async agent => {
        await agent.pass(59_000);
        expect(agent.syncs()).toEqual(["0 ms start: failed"]);
      },
      new FakeAgent("nft crashes"),
    );
  });
});

describe("a family that fails", () => {
  const BOTH = "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]";

  test("permanently is a warning while it is enabled", async () => {
    const agent = new FakeAgent();
    agent.backends.nft.become("unsupported", "ip6");
    await running(
      BOTH,
      async agent => {
        const { warnings } = agent.state;
        expect([...warnings]).toEqual([["ip6", "IPv6 rules are not in force: nft: unsupported"]]);
        expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
        agent.config.set(KEEP);
        await settled();
        expect([...warnings]).toEqual([]);
        expect(agent.syncs()).toEqual(["0 ms start: applied", "0 ms config: unchanged"]);
      },
      agent,
    );
  });

  test("temporarily is retried after 15 s, without delaying repairs of the other family", async () => {
    const agent = new FakeAgent();
    agent.backends.nft.become("exhausted", "ip6");
    await running(
      BOTH,
      async agent => {
        await agent.pass(1000);
        agent.backends.nft.flush();
        await settled();
        expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
        agent.backends.nft.become("ok");
        await agent.pass(15_500);
        expect(agent.kernel()).toEqual([`nft: ${KEPT}`, "nft: ip6 keeps fd00::/8 fe80::/10"]);
        expect(agent.syncs()).toEqual([
          "0 ms start: failed",
          "1000 ms kernel: failed",
          "16000 ms interval: repaired",
        ]);
      },
      agent,
    );
  });
});

describe("while another agent holds the node lock", () => {
  const STANDBY =
    "another agent is active on this node (pid 812, ipmasq 0.1.0, since 2026-11-26T08:15:00.000Z); remove one of the two";

  test("it writes nothing and says so once, and is active as soon as the lock is free", async () => {
    const agent = new FakeAgent();
    agent.lock.holder = OTHER;
    await running(
      KEEP,
      async agent => {
        await agent.pass(60_500);
        agent.backends.nft.flush();
        agent.requestSync();
        await settled();
        expect(agent.kernel()).toEqual([]);
        expect([agent.state.isStandby, agent.state.unready]).toEqual([true, STANDBY]);
        expect(agent.lines()).toEqual([`WARN  standing by: ${STANDBY}`]);
        agent.lock.free();
        await settled();
        expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
        expect(agent.lines()).toEqual([APPLIED, IN_FORCE]);
        expect(agent.state.isStandby).toBe(false);
        expect(agent.syncs()).toEqual([
          "0 ms start: failed",
          "60000 ms interval: failed",
          "60500 ms kernel: failed",
          "60500 ms start: applied",
        ]);
      },
      agent,
    );
  });

  test("it leaves drift alone after it lost the lock", () =>
    running(KEEP, async agent => {
      agent.lock.holder = OTHER;
      agent.backends.nft.flush();
      await settled();
      expect(agent.kernel()).toEqual([]);
      expect(agent.lines().at(-1)).toBe(`WARN  standing by: ${STANDBY}`);
    }));
});

describe("rules that another program keeps changing", () => {
  /** Longest time without rules, in milliseconds. */
  function longestGap(agent: FakeAgent): () => number {
    let longest = 0;
    let since: number | undefined;
    const timer = setInterval(() => {
      const now = performance.now();
      if (agent.kernel().length > 0) since = undefined;
      else {
        since ??= now;
        longest = Math.max(longest, now - since);
      }
    }, 50);
    return () => {
      clearInterval(timer);
      return longest;
    };
  }

  test("are repaired at once, then at least every two seconds until they are left alone", () =>
    running(KEEP, async agent => {
      const { nft } = agent.backends;
      nft.took = 20;
      agent.lines();
      nft.afterWrite = () => setTimeout(() => nft.flush("nft (pid 7)"), 100);
      const gap = longestGap(agent);
      nft.flush("nft (pid 7)");
      await agent.pass(60_000);
      nft.afterWrite = () => {};
      await agent.pass(1000);
      expect(gap()).toBeWithin(500, 2000);
      const syncs = agent.syncs();
      expect(syncs.filter(it => it.endsWith("repaired")).length).toBeWithin(50, 70);
      expect(agent.state.contested).toBe(true);
      await agent.pass(11_000);
      expect(agent.state.contested).toBe(false);
      const facts = 'added=1 removed=0 by="nft (pid 7)"';
      expect(agent.lines()).toEqual([
        ...Array.from({ length: 5 }, () => `WARN  drift repaired ${facts}`),
        `WARN  rules are contested: another program keeps modifying them; slowing down repairs ${facts} repairs=6`,
        "INFO  rules are no longer contested",
      ]);
      nft.flush();
      await agent.pass(100);
      expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
    }));

  test("before they are verified are written again at least every two seconds", () =>
    running(KEEP, async agent => {
      const { nft } = agent.backends;
      nft.took = 20;
      const writes: number[] = [];
      nft.afterWrite = () => {
        writes.push(performance.now());
        nft.kernel.clear();
      };
      nft.flush();
      await agent.pass(60_000);
      expect(Math.max(...writes.map((at, i) => at - (writes[i - 1] ?? at)))).toBeLessThan(2000);
      expect(agent.state.contested).toBe(true);
      nft.afterWrite = () => {};
      await agent.pass(2000);
      expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
    }));
});

test("leftovers are removed at start, at SIGHUP and when a family is disabled, but not searched for each config", async () => {
  const agent = new FakeAgent();
  const { legacy } = agent.backends;
  const leftover = "ip keeps 0.0.0.0/0";
  legacy.kernel.set("ip", leftover);
  await running(
    KEEP,
    async agent => {
      expect(agent.kernel()).toEqual([`nft: ${KEPT}`]);
      legacy.kernel.set("ip", leftover);
      agent.config.set("nonMasqueradeCIDRs: [192.0.2.0/24]");
      await settled();
      const changed = "nft: ip keeps 169.254.0.0/16 192.0.2.0/24";
      expect(agent.kernel()).toEqual([`iptables-legacy: ${leftover}`, changed]);
      agent.requestSync();
      await settled();
      expect(agent.kernel()).toEqual([changed]);

      agent.config.set("enableIPv6: true\nnonMasqueradeCIDRs: [192.0.2.0/24, fd00::/8]");
      await settled();
      expect(agent.kernel()).toEqual([changed, "nft: ip6 keeps fd00::/8 fe80::/10"]);
      agent.config.set("nonMasqueradeCIDRs: [192.0.2.0/24]");
      await settled();
      expect(agent.kernel()).toEqual([changed]);
    },
    agent,
  );
});

describe("with --cleanup-on-exit", () => {
  const exit = (agent: FakeAgent) => cleanUpOnExit(agent.agent, async () => agent.backends.all, agent.log);

  test("it removes all rules when it ends, leftovers of other backends included", () =>
    running(KEEP, async agent => {
      agent.backends.legacy.kernel.set("ip6", "ip6 keeps fd00::/8");
      agent.lines();
      await exit(agent);
      expect(agent.kernel()).toEqual([]);
      expect(agent.lines()).toEqual(['INFO  rules removed removed="nft ip, iptables-legacy ip6"']);
    }));

  test.each([
    ["another agent is active", KEEP],
    ["it never had a valid config", "cidrLimit: 0"],
  ])("it removes nothing if %s", async (_why, config) => {
    const agent = new FakeAgent();
    if (config === KEEP) agent.lock.holder = OTHER;
    agent.backends.nft.kernel.set("ip", "ip keeps 0.0.0.0/0");
    await running(
      config,
      async agent => {
        await exit(agent);
        expect(agent.kernel()).toEqual(["nft: ip keeps 0.0.0.0/0"]);
        expect(agent.lines().at(-1)).toBe(
          "INFO  rules kept: this agent is not active or never had a policy in force",
        );
      },
      agent,
    );
  });

  test("it gives up after 5 s on a program that hangs", () =>
    running(KEEP, async agent => {
      agent.backends.nft.hangs = Promise.withResolvers().promise;
      const exited = exit(agent);
      await agent.pass(5000);
      await exited;
      expect(agent.lines().at(-1)).toBe("ERROR cleanup timed out; rules may remain after=5s");
    }));
});

test("counters that were read while a sync began are not used", () =>
  running(KEEP, async agent => {
    agent.backends.nft.took = 100;
    let uses = 0;
    agent.state.totals.read = () => void uses++;
    const undisturbed = agent.agent.readCounters();
    await agent.pass(200);
    await undisturbed;
    expect(uses).toBe(1);
    const disturbed = agent.agent.readCounters();
    await settled();
    agent.requestSync();
    await agent.pass(500);
    await disturbed;
    expect(uses).toBe(2); // by the sync
  }));
