import { expect, test } from "bun:test";
import { join, relative } from "node:path";

const SRC = join(import.meta.dir, "../src");

/** From the top down: a file imports from its own layer and from those behind it. */
const LAYERS = [
  "main.ts",
  "cli",
  "agent",
  "observe",
  "inspect",
  "backends",
  "policy",
  "config",
  "net",
  "system",
];

test("imports run downwards only", async () => {
  const upward: string[] = [];
  for await (const file of new Bun.Glob("**/*.ts").scan(SRC)) {
    const source = await Bun.file(join(SRC, file)).text();
    for (const [, imported = ""] of source.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)) {
      const target = relative(SRC, join(SRC, file, "..", imported));
      if (layer(target) < layer(file)) upward.push(`${file} imports ${target}`);
    }
  }
  expect(upward).toEqual([]);
});

test("each backend knows nothing of the other", async () => {
  const across: string[] = [];
  for await (const file of new Bun.Glob("backends/{nftables,iptables}/*.ts").scan(SRC)) {
    const source = await Bun.file(join(SRC, file)).text();
    if (source.includes(file.includes("nftables") ? "../iptables/" : "../nftables/backend"))
      across.push(file);
  }
  expect(across).toEqual([]);
});

function layer(file: string): number {
  const index = LAYERS.indexOf(file.split("/")[0] ?? "");
  expect(index, `${file} is in a layer`).toBeGreaterThanOrEqual(0);
  return index;
}
