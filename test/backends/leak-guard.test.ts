import { expect, test } from "bun:test";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import { policy } from "../policies.ts";
import { FakeBackend } from "./fake-backend.ts";

const DROPS = policy({ sources: ["10.244.0.0/16"], dropLeaks: true });
const KEEPS = policy({ sources: ["10.244.0.0/16"] });
const RULES = "ip keeps 10.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16";

/** iptables beside nft, whose fake guard writes the same line as any fake backend. */
function node() {
  const guard = new FakeBackend("nftables", "nft", "own table");
  const nft = Object.assign(new FakeBackend("nftables", "nft", "own table"), {
    dropsLeaks: true,
    leakGuard: () => guard,
    translates: async () => nft.kernel.get("ip")?.includes("masquerade") ?? false,
  });
  const iptables = new FakeBackend("iptables", "iptables-nft", "nat of nf_tables");
  return { guard, nft, iptables, backend: new MigratingBackend(iptables, [nft, iptables]) };
}

test("beside iptables, nft drops leaks while the policy wants it", async () => {
  const { guard, iptables, nft, backend } = node();
  const { after } = await backend.sync(DROPS);
  expect([...after.actual]).toEqual([RULES, RULES]);
  expect([iptables.kernel.get("ip"), guard.kernel.get("ip")]).toEqual([RULES, RULES]);
  expect(backend.limits).toEqual([]);
  nft.kernel.set("ip", "the table of the guard");
  await backend.removeLeftovers(DROPS);
  expect(nft.kernel.size).toBe(1);
  guard.kernel.clear();
  expect((await backend.sync(DROPS)).before.inSync).toBe(false);
  await backend.sync(KEEPS);
  expect([iptables.kernel.size, guard.kernel.size]).toEqual([1, 0]);
  await backend.removeLeftovers(KEEPS);
  expect(nft.kernel.size).toBe(0);
});

test("a failure of nft is a limit, and fails no sync", async () => {
  const { guard, iptables, backend } = node();
  guard.become("crashed");
  expect((await backend.sync(DROPS)).after.inSync).toBe(true);
  expect(iptables.kernel.get("ip")).toBe(RULES);
  expect(backend.limits).toEqual([
    "dropLeaks has no effect: iptables cannot drop packets after NAT, and nft fails: nft: crashed",
  ]);
  expect((await backend.sync(KEEPS)).after.inSync).toBe(true);
  expect(backend.limits).toEqual([]);
});

test("a refused write is a limit, too", async () => {
  const { guard, iptables, backend } = node();
  const plan = guard.plan.bind(guard);
  guard.plan = async desired => ({
    ...(await plan(desired)),
    apply: async () => {
      guard.become("refused");
      await plan(desired);
      return [];
    },
  });
  expect((await backend.sync(DROPS)).after.inSync).toBe(true);
  expect(iptables.kernel.get("ip")).toBe(RULES);
  expect(backend.limits[0]).toEndWith("nft fails: nft: refused");
});

test("while nft fails, its valid table stays, and rules of another backend in it are removed", async () => {
  const { guard, nft, backend } = node();
  await backend.sync(DROPS);
  nft.kernel.set("ip", "drops leaks");
  guard.become("refused");
  await backend.sync(DROPS);
  expect(backend.limits).toHaveLength(1);
  expect(await backend.removeLeftovers(DROPS)).toEqual({ lines: [], failures: [] });
  expect((await backend.leftovers(DROPS)).lines).toEqual([]);
  expect(nft.kernel.size).toBe(1);
  nft.kernel.set("ip", "masquerade");
  expect((await backend.removeLeftovers(DROPS)).lines).toEqual(["nft ip"]);
});

test("an nft that hangs delays neither the rules nor the next sync", async () => {
  const { guard, iptables, backend } = node();
  const { promise, resolve } = Promise.withResolvers<void>();
  const plan = guard.plan.bind(guard);
  guard.plan = async wanted => {
    await promise;
    return plan(wanted);
  };
  await backend.sync(DROPS);
  iptables.kernel.clear();
  await backend.sync(DROPS);
  expect(iptables.kernel.get("ip")).toBe(RULES);
  expect(backend.limits[0]).toEndWith("nft fails: nft does not answer within 1000 ms");
  const changed = Promise.withResolvers<void>();
  backend.watch({ changed: () => changed.resolve(), lost: () => {}, foreign: () => {} });
  resolve();
  await changed.promise; // because the second sync was left out
  await backend.sync(DROPS);
  expect([guard.kernel.get("ip"), backend.limits]).toEqual([RULES, []]);
});

test("a change of its table is reported, and a failure is retried soon", async () => {
  const { guard, iptables, backend } = node();
  let changes = 0;
  const next = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    onChange = resolve;
    return promise;
  };
  let onChange = () => {};
  const watch = backend.watch({
    changed: () => {
      changes++;
      onChange();
    },
    lost: () => {},
    foreign: () => {},
  });
  await backend.sync(KEEPS);
  expect([guard.watchers.length, iptables.watchers.length]).toEqual([0, 1]);
  guard.become("busy");
  await backend.sync(DROPS);
  guard.become("ok");
  await next();
  const late = await backend.sync(DROPS);
  expect([late.before === late.after, late.expected]).toEqual([false, true]); // no drift
  expect([guard.kernel.size, backend.limits]).toEqual([1, []]);
  await backend.sync(DROPS);
  expect([guard.watchers.length, changes]).toEqual([1, 1]);
  const flushed = next();
  guard.flush();
  await flushed;
  expect((await backend.sync(DROPS)).expected).toBe(false);
  await backend.sync(KEEPS);
  expect([guard.watchers.length, guard.kernel.size]).toEqual([0, 0]);
  await backend.sync(DROPS);
  watch.stop();
  expect([guard.watchers.length, iptables.watchers.length]).toEqual([0, 0]);
});

test("each writer counts for itself", async () => {
  const { backend } = node();
  const { parts } = await backend.compare(DROPS);
  expect(parts?.map(({ writer }) => writer)).toEqual(["iptables-nft", "nft"]);
});

test("without nft, the limit says so", async () => {
  const iptables = new FakeBackend("iptables", "iptables-nft", "nat of nf_tables");
  const backend = new MigratingBackend(iptables, [iptables]);
  await backend.sync(DROPS);
  expect(backend.limits).toEqual([
    "dropLeaks has no effect: iptables cannot drop packets after NAT, and nft is not installed; install nftables",
  ]);
});
