import { expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { startPrinting } from "../../src/system/printing.ts";

/** The pipes of this process. Bun itself opens sockets. */
const pipes = () =>
  readdirSync("/proc/self/fd").filter(it => {
    try {
      return readlinkSync(`/proc/self/fd/${it}`).startsWith("pipe:");
    } catch {
      return false; // closed meanwhile
    }
  }).length;

test.each([true, false])("reads what a program prints, until it ends (by a pipe: %p)", async isBuffered => {
  const before = pipes();
  const script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; sleep 0.05; echo end";
  const printing = await startPrinting(["sh", "-c", script], isBuffered);
  expect(printing.isBuffered).toBe(isBuffered);
  if (isBuffered) await Bun.sleep(20); // the program does not wait for its reader
  const text = await new Response(printing.output).text();
  expect(text).toBe(`${Array.from({ length: 2000 }, (_, i) => `${i}\n`).join("")}end\n`);
  printing.close();
  // Bun may close its end a moment later.
  for (let tries = 0; pipes() > before && tries < 100; tries++) await Bun.sleep(20);
  expect(pipes()).toBe(before);
});

test("leaves nothing open if the program does not exist", async () => {
  const before = pipes();
  await expect(startPrinting(["/nowhere"], true)).rejects.toThrow("ENOENT");
  expect(pipes()).toBe(before);
});
