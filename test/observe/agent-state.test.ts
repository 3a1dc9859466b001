import { expect, spyOn, test } from "bun:test";
import { agentState, synced } from "./agent-states.ts";

test("a loop that stopped is neither alive nor ready, even after a successful sync", async () => {
  const state = agentState();
  state.syncEnded(synced("applied", "start"));
  expect([state.stalled, state.unready]).toEqual([undefined, undefined]);
  state.interval = 5;
  await Bun.sleep(16);
  const stalled = "the last sync ended 0 s ago";
  expect([state.inSync, state.stalled, state.unready]).toEqual([true, stalled, stalled]);
  state.interval = 60_000;
  state.syncEnded(synced("unchanged", "interval"));
  expect([state.stalled, state.unready]).toEqual([undefined, undefined]);
});

test("a sync may take longer than three intervals, but not three minutes", () => {
  const clock = spyOn(performance, "now");
  try {
    clock.mockReturnValue(0);
    const state = agentState();
    state.interval = 1000;
    state.syncEnded(synced("applied", "start"));
    state.syncBegan();
    for (const [now, stalled] of [
      [170_000, undefined],
      [181_000, "the current sync has been running for 181 s"],
    ] as const) {
      clock.mockReturnValue(now);
      expect([state.stalled, state.unready]).toEqual([stalled, stalled]);
    }
    state.syncEnded(synced("unchanged", "interval"));
    expect([state.stalled, state.unready]).toEqual([undefined, undefined]);
    clock.mockReturnValue(181_000 + 3001);
    expect(state.stalled).toBe("the last sync ended 3 s ago");
  } finally {
    clock.mockRestore();
  }
});
