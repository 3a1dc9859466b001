import { afterEach, beforeEach, describe, expect, jest, test } from "bun:test";
import { Memory } from "../../src/backends/memory.ts";

let memory: Memory<string, number>;
let doubts: number;
beforeEach(() => {
  jest.useFakeTimers();
  memory = new Memory(1000);
  memory.isWatched = true;
  doubts = 0;
  memory.onDoubt = () => doubts++;
});
afterEach(() => jest.useRealTimers());

test("a listing is remembered, and a write replaces it", () => {
  memory.listed("ip", 1, memory.epoch);
  expect(memory.get("ip")).toBe(1);
  memory.expect();
  memory.written("ip", 2);
  expect(memory.reported()).toBe(true);
  expect(memory.get("ip")).toBe(2);
});

describe("nothing is remembered", () => {
  test("while transactions are not watched", () => {
    memory.isWatched = false;
    memory.listed("ip", 1, memory.epoch);
    memory.written("ip6", 1);
    expect([memory.get("ip"), memory.get("ip6")]).toEqual([undefined, undefined]);
  });

  test.each<[string, () => void]>([
    ["a foreign transaction", () => memory.reported()],
    ["lost reports, or a failed transaction", () => memory.forget()],
    ["a new start of the monitor", () => (memory.isWatched = true)],
    ["the end of the monitor", () => (memory.isWatched = false)],
  ])("after %s", (_what, happens) => {
    memory.listed("ip", 1, memory.epoch);
    happens();
    expect(memory.get("ip")).toBe(undefined);
  });

  test.each<[string, () => void]>([
    ["a foreign transaction", () => memory.reported()],
    ["one of our transactions", () => memory.expect()],
    ["one of our writes", () => memory.written("ip", 2)],
  ])("of a listing that began before %s", (_what, happens) => {
    const { epoch } = memory;
    happens();
    memory.listed("ip6", 1, epoch);
    expect(memory.get("ip6")).toBe(undefined);
  });
});

test("our transactions are not relied on between a doubt and the next listing", () => {
  memory.listed("ip", 1, memory.epoch);
  memory.expect();
  memory.forget(); // the report of the first transaction was lost, and perhaps that of the second one
  memory.expect();
  memory.written("ip", 2);
  expect(memory.get("ip")).toBe(undefined);
  expect(memory.reported()).toBe(false);
  memory.listed("ip", 2, memory.epoch);
  memory.expect();
  expect(memory.reported()).toBe(true);
});

test("a foreign transaction between ours is found, by the number of reports", () => {
  memory.listed("ip", 0, memory.epoch);
  memory.expect();
  memory.expect();
  memory.written("ip", 1);
  expect([memory.reported(), memory.reported(), memory.reported()]).toEqual([true, true, false]);
  expect(memory.get("ip")).toBe(undefined);
});

test("one of our transactions that is not reported in time raises doubt, once", () => {
  memory.listed("ip", 0, memory.epoch);
  memory.expect();
  memory.written("ip", 1);
  jest.advanceTimersByTime(999);
  expect([memory.get("ip"), doubts]).toEqual([1, 0]);
  jest.advanceTimersByTime(1);
  expect([memory.get("ip"), doubts]).toEqual([undefined, 1]);
  jest.advanceTimersByTime(5000);
  expect(doubts).toBe(1);
  // When it arrives after all, it counts as foreign.
  expect(memory.reported()).toBe(false);
});

test("without an argument, our transactions must be reported within 20 s", () => {
  memory = new Memory();
  memory.isWatched = true;
  memory.onDoubt = () => doubts++;
  memory.listed("ip", 0, memory.epoch);
  memory.expect();
  jest.advanceTimersByTime(19_999);
  expect(doubts).toBe(0);
  jest.advanceTimersByTime(1);
  expect(doubts).toBe(1);
});

test("neither later transactions of the agent nor reports of earlier ones hide a missing report", () => {
  memory.listed("ip", 0, memory.epoch);
  memory.expect();
  jest.advanceTimersByTime(600);
  memory.expect();
  jest.advanceTimersByTime(300);
  expect([memory.reported(), doubts]).toEqual([true, 0]);
  jest.advanceTimersByTime(600);
  memory.expect();
  jest.advanceTimersByTime(399);
  expect(doubts).toBe(0);
  jest.advanceTimersByTime(1);
  expect(doubts).toBe(1);
});

test("one of our transactions that is reported before its program ends is expected already", () => {
  memory.listed("ip", 0, memory.epoch);
  memory.expect();
  expect(memory.reported()).toBe(true);
  memory.written("ip", 3);
  jest.advanceTimersByTime(5000);
  expect([memory.get("ip"), doubts]).toEqual([3, 0]);
});

describe("a transaction is waited for", () => {
  const RULE = "rule ip t a return";
  let state: string;
  let sent: PromiseWithResolvers<void>;
  const settled = async () => {
    for (let i = 0; i < 5; i++) await Promise.resolve();
    return state;
  };

  beforeEach(() => {
    state = "waits";
    sent = Promise.withResolvers();
    memory.listed("ip", 1, memory.epoch);
    memory.expect();
    memory.await([RULE]);
    memory.committed(sent.promise).then(
      () => (state = "done"),
      () => (state = "failed"),
    );
  });

  test("until its report, which may come before the end of its program", async () => {
    expect(await settled()).toBe("waits");
    memory.line(`add ${RULE}`);
    memory.reported();
    expect(await settled()).toBe("done");
    sent.reject(new Error("nft was killed"));
    await settled();
    expect(doubts).toBe(1);
  });

  test("until its program ends, if the report is another", async () => {
    memory.line("add rule ip t a drop");
    memory.reported();
    expect(await settled()).toBe("waits");
    sent.resolve();
    expect([await settled(), doubts]).toEqual(["done", 0]);
  });

  test("until it fails", async () => {
    memory.forget();
    expect(await settled()).toBe("waits");
    sent.reject(new Error("refused"));
    expect([await settled(), doubts]).toEqual(["failed", 0]);
  });
});

describe("a write of few elements", () => {
  const RULE = "rule ip t a ip daddr @s-b return";
  const OBJECTS = [
    "set ip t s-b { type ipv4_addr; flags interval; counter; }",
    "element ip t s-b { 10.0.0.0/8 }",
    "element ip t s-b { 192.0.2.1 }",
  ];
  const build = OBJECTS.map(it => `add ${it}`);
  const swap = ["flush chain ip t a", `add ${RULE}`, "delete set ip t s-a"];

  test.each<[string, built: readonly string[], swapped: readonly string[], isConfirmed: boolean]>([
    ["is confirmed by its report, in any order", build.toReversed(), swap, true],
    [
      "is confirmed although a set made room",
      ["delete set ip t s-b", `${build[0]} `, ...build.slice(1)],
      swap,
      true,
    ],
    ["is not confirmed without the set", build.slice(1), swap, false],
    ["is not confirmed without an element", build.slice(0, 2), swap, false],
    ["is not confirmed with an element more", [...build, "add element ip t s-b { 192.0.2.2 }"], swap, false],
    [
      "is not confirmed with an element of another set",
      [...build, "add element ip t s-a { 10.0.0.0/8 }"],
      swap,
      false,
    ],
    [
      "is not confirmed with an element that goes",
      build,
      ["delete element ip t s-b { 192.0.2.1 }", ...swap],
      false,
    ],
    ["is not confirmed without the rule", build, swap.slice(0, 1), false],
  ])("%s", async (_what, built, swapped, isConfirmed) => {
    memory.listed("ip", 1, memory.epoch);
    memory.await([RULE], OBJECTS);
    for (const lines of [built, swapped]) {
      memory.expect();
      for (const line of lines) memory.line(line);
      memory.reported();
    }
    const confirmed = memory.confirmed(500);
    await Promise.resolve();
    jest.advanceTimersByTime(600);
    expect(await confirmed).toBe(isConfirmed);
  });
});

describe("a write", () => {
  const RULES = ["rule ip t a ip daddr @s-b return", `rule ip t a masquerade comment "${"x".repeat(240)}"`];
  const report = (...lines: string[]) => {
    for (const line of lines) memory.line(line.slice(0, 256));
    return memory.reported();
  };
  const added = (verb: string, [place = "", rule]: readonly string[], handle = "") =>
    `${verb} ${place}${handle} ${rule}`;
  const parts = RULES.map(it => [it.slice(0, 11), it.slice(12)]);
  const whole = ["add", "insert"].map((verb, i) => added(verb, parts[i] ?? [], i === 0 ? " handle 7" : ""));

  beforeEach(() => {
    memory.listed("ip", 1, memory.epoch);
    memory.expect();
    memory.expect();
    memory.await(RULES);
    expect(report("add element ip t s-b { 10.0.0.0/8 }")).toBe(true);
  });

  test("is confirmed by a report of its rules", async () => {
    const confirmed = memory.confirmed(1000);
    report("flush chain ip t a", ...whole);
    expect(await confirmed).toBe(true);
    expect(await memory.confirmed(1000)).toBe(true);
  });

  test("is not confirmed by the report of an earlier write", async () => {
    report("flush chain ip t a", ...whole);
    memory.forget();
    memory.expect();
    memory.await(RULES);
    expect(await memory.confirmed(1000)).toBe(false);
  });

  test.each<[string, () => unknown]>([
    ["without a rule", () => report(...whole.slice(1))],
    ["with a rule more", () => report(...whole, "add rule ip t a return")],
    ["with another rule", () => report("add rule ip t a ip daddr @s-a return", ...whole.slice(1))],
    ["with the start of a rule", () => report("add rule ip t a ip daddr @s-b", ...whole.slice(1))],
    ["in another order", () => report(...whole.toReversed())],
    ["after a foreign transaction", () => [report(), report(...whole)]],
    ["after lost reports", () => [memory.forget(), report(...whole)]],
    ["too late", () => jest.advanceTimersByTime(600)],
  ])("is not confirmed by a report %s", async (_what, happens) => {
    const confirmed = memory.confirmed(500);
    happens();
    expect(await confirmed).toBe(false);
  });
});
