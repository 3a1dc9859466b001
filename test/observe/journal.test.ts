import { expect, test } from "bun:test";
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
