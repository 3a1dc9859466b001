import { expect, spyOn, test } from "bun:test";
import { journal, synced } from "./journals.ts";

test("a loop that is dead is neither alive nor ready, whatever its last sync found", async () => {
  const about = journal();
  about.synced(synced("applied", "start"));
  expect([about.stalled, about.unready]).toEqual([undefined, undefined]);
  about.interval = 5;
  await Bun.sleep(16);
  const stalled = "the last sync ended 0 s ago";
  expect([about.inSync, about.stalled, about.unready]).toEqual([true, stalled, stalled]);
  about.interval = 60_000;
  about.synced(synced("unchanged", "interval"));
  expect([about.stalled, about.unready]).toEqual([undefined, undefined]);
});

test("a sync may take longer than the intervals, but not three minutes", () => {
  const clock = spyOn(performance, "now");
  try {
    clock.mockReturnValue(0);
    const about = journal();
    about.interval = 1000;
    about.synced(synced("applied", "start"));
    about.began();
    for (const [now, stalled] of [
      [170_000, undefined],
      [181_000, "the sync has not ended for 181 s"],
    ] as const) {
      clock.mockReturnValue(now);
      expect([about.stalled, about.unready]).toEqual([stalled, stalled]);
    }
    about.synced(synced("unchanged", "interval"));
    expect([about.stalled, about.unready]).toEqual([undefined, undefined]);
    clock.mockReturnValue(181_000 + 3001);
    expect(about.stalled).toBe("the last sync ended 3 s ago");
  } finally {
    clock.mockRestore();
  }
});
