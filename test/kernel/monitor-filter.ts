/**
 * Copies what `nft monitor` prints, transaction by transaction, except as the file `lie` in the folder of a
 * {@link CrashingNft} says. Only transactions of our tables are changed.
 *
 *     bun monitor-filter.ts FOLDER <INPUT >OUTPUT
 */
import { existsSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { MonitorLie } from "./crashing-nft.ts";

const lie = join(process.argv[2] ?? "", "lie");

/** The copies that each lie prints, and whether it ends with this transaction. */
const COPIES: Readonly<Record<MonitorLie, readonly [copies: number, once: boolean]>> = {
  nothing: [1, false],
  silent: [0, false],
  "drops one": [0, true],
  "repeats one": [2, true],
};

let transaction = "";
let rest = "";
const decoder = new TextDecoder();
for await (const chunk of Bun.stdin.stream()) {
  const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) {
    transaction += `${line}\n`;
    if (!line.startsWith("#")) continue;
    const [copies, once] = / ip6? (ip-masq-agent|nat)\b/.test(transaction) ? copiesNow() : COPIES.nothing;
    if (once) writeFileSync(lie, "nothing");
    for (let i = 0; i < copies; i++) print(transaction);
    transaction = "";
  }
}

function copiesNow(): readonly [number, boolean] {
  if (!existsSync(lie)) return COPIES.nothing; // a fault of the tests moves the folder
  const now = readFileSync(lie, "utf8");
  const [, copies] = Object.entries(COPIES).find(([name]) => name === now) ?? [];
  return copies ?? COPIES.nothing;
}

/** Standard output may be a full pipe that does not block. */
function print(text: string): void {
  for (let bytes = Buffer.from(text); bytes.length > 0; ) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
      Bun.sleepSync(1);
    }
  }
}
