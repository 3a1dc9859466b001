import { expect, test } from "bun:test";
import { UnsuitableError } from "../../src/backends/choose.ts";
import { Failover } from "../../src/backends/failover.ts";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import { policy } from "../policies.ts";
import { FakeBackend, fakes } from "./fake-backend.ts";

/** Each sync tries the preferred backend again. */
const PAUSES = { first: 0, last: 0, check: 1000 };

test("the next backend that works replaces one that fails, until that works again", async () => {
  const { nft, iptables, legacy, chosen } = fakes();
  const failover = new Failover(chosen, 3, PAUSES);
  await failover.sync(policy());
  nft.become("crashed");
  iptables.become("refused");
  const { moved } = await failover.sync(policy());
  expect(moved).toEqual({
    from: "nft",
    to: "iptables-legacy",
    reason: "nft fails: nft: crashed",
    fallback: "nft: crashed",
  });
  nft.become("ok");
  expect((await failover.sync(policy())).moved).toEqual({
    from: "iptables-legacy",
    to: "nft",
    reason: "nft works again",
    fallback: undefined,
  });
  expect(legacy.kernel.size).toBe(1);
  await failover.removeLeftovers(policy());
  expect(legacy.kernel.size).toBe(0);
});

/** The backends of `fakes`, where nftables was chosen without a test. */
function untested(tested: "nft" | "iptables") {
  const all = fakes();
  const { chosen } = all;
  let tests = 0;
  const retest = async () => {
    tests++;
    const backend = chosen.alternatives[tested === "nft" ? 0 : 1] ?? chosen.backend;
    return { ...chosen, backend, reason: "a test of all" };
  };
  return { ...all, chosen: { ...chosen, reason: "nft is installed", retest }, tests: () => tests };
}

test("the first sync tests a backend that was chosen without a test", async () => {
  const { nft, chosen, tests } = untested("iptables");
  const failover = new Failover(chosen, 3, PAUSES);
  expect(failover.reason).toBe("nft is installed");
  expect((await failover.sync(policy())).moved).toBeUndefined();
  expect(failover.reason).toBe("nft is installed and the kernel accepts the ruleset");
  nft.become("refused");
  await expect(failover.sync(policy())).rejects.toThrow("nft: refused");
  expect(tests()).toBe(0);
});

test.each(["unsupported", "refused"] as const)(
  "if the first write is %s, another backend is chosen",
  async kind => {
    const { nft, iptables, chosen } = untested("iptables");
    const failover = new Failover(chosen, 3, PAUSES);
    nft.become(kind);
    iptables.become("busy");
    await expect(failover.sync(policy())).rejects.toThrow("iptables-nft: busy");
    iptables.become("ok");
    const { moved } = await failover.sync(policy());
    const move = {
      from: "nft",
      to: "iptables-nft",
      reason: "a test of all",
      fallback: undefined,
      isChoice: true,
    };
    expect(moved).toEqual(move);
    expect([failover.reason, failover.retry]).toEqual(["a test of all", undefined]);
    expect((await failover.sync(policy())).moved).toBeUndefined();
  },
);

test("if the tests choose the same backend, its refusal is an error as later", async () => {
  const { nft, chosen } = untested("nft");
  const failover = new Failover(chosen, 3, PAUSES);
  nft.become("refused");
  await expect(failover.sync(policy())).rejects.toThrow("nft: refused");
  nft.become("ok");
  expect((await failover.sync(policy())).moved).toBeUndefined();
});

test("a backend that must not be used writes nothing", async () => {
  const { nft, iptables, chosen } = untested("iptables");
  const exempted = () => Bun.sleep(5).then(() => Promise.reject(new UnsuitableError("exempted")));
  chosen.backend.waitFor(exempted, []);
  const failover = new Failover(chosen, 3, PAUSES);
  expect((await failover.sync(policy({}, { enableIPv6: true }))).moved?.to).toBe("iptables-nft");
  expect([nft.kernel.size, iptables.kernel.size]).toEqual([0, 2]);
});

test("exemptions are searched once per family, at once or before the first write, and not later", async () => {
  const { chosen } = untested("nft");
  const searched: string[] = [];
  const search = async (family: string) => void searched.push(family);
  chosen.backend.waitFor(search, ["ip"]);
  expect(searched).toEqual(["ip"]);
  const failover = new Failover(chosen, 3, PAUSES);
  await failover.sync(policy({}, { enableIPv6: true }));
  await failover.sync(policy({}, { enableIPv6: true }));
  expect(searched).toEqual(["ip", "ip6"]);
  chosen.backend.waitFor(search, []);
  await failover.sync(policy());
  await failover.sync(policy({}, { enableIPv6: true }));
  expect(searched).toEqual(["ip", "ip6", "ip"]);
});

test("the preferred backend is not called a fallback after the fallback fails", async () => {
  const { nft, iptables, legacy, chosen } = fakes();
  const failover = new Failover(chosen, 3, { ...PAUSES, first: 60_000, last: 60_000 });
  await failover.sync(policy());
  nft.become("crashed");
  await failover.sync(policy());
  expect(failover.writer).toBe("iptables-nft");
  nft.become("ok");
  iptables.become("crashed");
  legacy.become("crashed");
  const { moved } = await failover.sync(policy());
  expect(moved).toMatchObject({ from: "iptables-nft", to: "nft", fallback: undefined });
  expect(failover.retry).toBeUndefined();
});

test("backends that failed before are tried last", async () => {
  const { nft, iptables, chosen } = fakes();
  const failover = new Failover(chosen, 3, { ...PAUSES, first: 60_000, last: 60_000 });
  await failover.sync(policy());
  nft.become("timed-out");
  await failover.sync(policy());
  let asked = 0;
  nft.plan = async () => {
    asked++;
    throw new Error("it would hang");
  };
  iptables.become("crashed");
  expect((await failover.sync(policy())).moved?.to).toBe("iptables-legacy");
  expect(asked).toBe(0);
});

test("the next watch does not inherit the report of a lost event stream", async () => {
  const { nft, iptables, chosen } = fakes();
  const failover = new Failover(chosen, 3, PAUSES);
  const lost: (string | undefined)[] = [];
  failover.watch({ changed: () => {}, lost: why => lost.push(why), foreign: () => {} });
  await failover.sync(policy());
  nft.watchers[0]?.lost("lost the event stream");
  nft.become("crashed");
  await failover.sync(policy());
  expect(lost).toStrictEqual(["lost the event stream", undefined]);
  expect(iptables.watchers).toHaveLength(1);
});

test("a backend that no longer writes does not remove leftovers that it finds late", async () => {
  const { nft, iptables, chosen } = fakes();
  const failover = new Failover(chosen, 3, PAUSES);
  await failover.sync(policy());
  nft.become("timed-out");
  await failover.sync(policy());
  const { promise, resolve } = Promise.withResolvers<void>();
  nft.hangs = promise;
  const removed = failover.removeLeftovers(policy());
  nft.become("ok");
  expect((await failover.sync(policy())).moved?.to).toBe("nft");
  resolve();
  await removed;
  expect([...nft.kernel.keys()]).toEqual(["ip"]);
  expect([...iptables.kernel.keys()]).toEqual(["ip"]);
});

test("places that do not support rules, or that another writer can read, cause no warning", async () => {
  const { nft, iptables, legacy } = fakes();
  const byNft = new FakeBackend("iptables", "nft", iptables.place);
  const migrating = new MigratingBackend(nft, [nft, iptables, byNft, legacy]);
  legacy.become("unsupported");
  iptables.become("incompatible");
  expect(await migrating.leftovers(policy())).toEqual({ lines: [], failures: [] });
  byNft.kernel.set("ip", "a rule");
  expect(await migrating.removeLeftovers(policy())).toEqual({ lines: ["nft ip"], failures: [] });
  byNft.become("crashed", "ip6");
  const failures = ["ip6: iptables-nft: incompatible", "ip6: nft: crashed"];
  expect(await migrating.leftovers(policy())).toEqual({ lines: [], failures });
});

test("beside a fallback, a table that only drops leaks ends the enforcement of kept connections", async () => {
  const { nft, iptables, chosen } = fakes();
  const enforced: boolean[] = [];
  let isEnforced = false;
  Object.assign(nft, { translates: async () => nft.kernel.get("ip") !== "drops leaks" });
  Object.defineProperty(iptables, "enforcesKept", { get: () => isEnforced });
  Object.assign(iptables, {
    enforceKept: (enforce: boolean) => {
      isEnforced = enforce;
      enforced.push(enforce);
    },
  });
  const failover = new Failover(chosen, 3, { ...PAUSES, first: 60_000, last: 60_000 });
  await failover.sync(policy());
  nft.become("crashed");
  expect((await failover.sync(policy())).moved?.to).toBe("iptables-nft");
  await failover.removeLeftovers(policy());
  expect(enforced).toEqual([true]);
  nft.become("ok");
  nft.kernel.set("ip", "drops leaks");
  Object.assign(nft, { remove: async () => [] }); // the guard of leaks keeps the table
  await failover.removeLeftovers(policy());
  expect(enforced).toEqual([true, false]);
});
