import { expect, test } from "bun:test";
import type { Backend, Plan } from "../../src/backends/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { type FailureKind, failureKind, ProgramError } from "../../src/system/program.ts";
import { policy } from "../policies.ts";

const DESIRED = ["rule"];

/** Rules in memory, with writes that fail or succeed as a test wants. */
class Memory implements Backend {
  readonly name = "nftables";
  readonly writer = "nft";
  readonly place = "own table";
  writes = 0;
  #actual: readonly string[] = [];

  /** @param write throws, or returns the actual rules after a write; called with the number of the write */
  constructor(readonly write: (number: number) => readonly string[]) {}

  async plan(): Promise<Plan> {
    const actual = this.#actual;
    return {
      actual,
      desired: DESIRED,
      inSync: actual === DESIRED,
      writer: "nft",
      counters: [],
      apply: async () => {
        this.#actual = this.write(++this.writes);
        return [];
      },
    };
  }

  async explained(error: unknown): Promise<unknown> {
    return error instanceof ProgramError
      ? new ProgramError(error.kind, error.command, "explained", "")
      : error;
  }

  watch = () => ({ stop: () => {} });
  check = async () => {};
  fingerprint = async () => "";
  rules = async () => [];
  actual = async () => this.#actual;
  remove = async () => [];
}

const fails = (kind: FailureKind) => {
  throw new ProgramError(kind, "nft", "failed", "");
};
const desired = policy({ keep: ["10.0.0.0/8"] });

test.each<FailureKind>(["unsupported", "refused", "busy"])(
  "a write that was %s is tried again at once, even if the actual rules did not change",
  async kind => {
    const memory = new Memory(number => (number < 3 ? fails(kind) : DESIRED));
    const { before, after } = await sync(memory, desired);
    expect([before.actual, after.actual, memory.writes]).toEqual([[], DESIRED, 3]);
  },
);

test.each<[FailureKind, number]>([
  ["refused", 3],
  ["crashed", 1],
  ["timed-out", 1],
  ["not-permitted", 1],
])("a write that is always %s is tried %d times, then the error is explained", async (kind, writes) => {
  const memory = new Memory(() => fails(kind));
  const error = await sync(memory, desired).catch(error => error);
  expect([failureKind(error), memory.writes]).toEqual([kind, writes]);
  expect(error.message).toBe("nft: explained");
});

test("rules that another program removes are written three times, or until the time for retries is over", async () => {
  const undone = () => new Memory(number => (number < 6 ? [`foreign ${number}`] : DESIRED));
  expect((await sync(undone(), desired).catch(error => error)).name).toBe("NotAppliedError");
  expect((await sync(undone(), desired, { retryFor: 10_000 })).after.inSync).toBe(true);
});

test("failing writes are not tried longer than that", async () => {
  const memory = new Memory(() => fails("busy"));
  const began = performance.now();
  expect(failureKind(await sync(memory, desired, { retryFor: 20 }).catch(error => error))).toBe("busy");
  expect(performance.now() - began).toBeWithin(20, 10_000);
  expect(memory.writes).toBeGreaterThan(3);
  const crashing = new Memory(() => fails("crashed"));
  expect(failureKind(await sync(crashing, desired, { retryFor: 10_000 }).catch(error => error))).toBe(
    "crashed",
  );
  expect(crashing.writes).toBe(1);
});
