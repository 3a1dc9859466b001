import { afterEach, expect, test } from "bun:test";
import { output } from "../../lab/output.ts";
import { Competitors } from "../../src/agent/competitors.ts";
import { createLog } from "../../src/observe/log.ts";
import { journal } from "../observe/journals.ts";
import { policy } from "../policies.ts";

afterEach(() => output(["nft", "flush", "ruleset"]));

const THEIRS = "add table ip theirs; add chain ip theirs c { type nat hook postrouting priority 90; }";

function watched() {
  const about = journal();
  about.policy = policy();
  const lines: string[] = [];
  const log = createLog("info", "text", line => lines.push(line));
  return { about, lines, competitors: new Competitors(about, log, { settled: 20, between: 300 }) };
}

test("each rule is warned of once, and not more than a few", async () => {
  const { about, lines, competitors } = watched();
  await competitors.look();
  expect([about.competing.length, lines.length]).toEqual([0, 0]);
  await output(["nft", `${THEIRS}; add rule ip theirs c ip daddr 10.1.0.0/16 masquerade`]);
  for (let i = 0; i < 3; i++) await competitors.look();
  expect([about.competing.length, lines.length]).toEqual([1, 1]);
  const more = Array.from(
    { length: 50 },
    (_, i) => `add rule ip theirs c ip daddr 10.2.${i}.0/24 masquerade`,
  );
  await output(["nft", more.join("; ")]);
  await competitors.look();
  expect([about.competing.length, lines.length]).toEqual([51, 1 + 5 + 1]);
  expect(lines.at(-1)).toContain("more foreign rules are in conflict; see ipmasq status more=45");
});

test("changes in bursts make one look, and not one after the other", async () => {
  const { about, competitors } = watched();
  await output(["nft", `${THEIRS}; add rule ip theirs c ip daddr 10.1.0.0/16 masquerade`]);
  for (let i = 0; i < 100; i++) competitors.soon();
  await Bun.sleep(150);
  expect(about.competing).toHaveLength(1);
  await output(["nft", "delete table ip theirs"]);
  competitors.soon();
  await Bun.sleep(50);
  expect(about.competing).toHaveLength(1); // not yet
  await Bun.sleep(400);
  expect(about.competing).toHaveLength(0);
});
