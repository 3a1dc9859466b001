import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LegacyReader } from "../../src/xtables/legacy-reader.ts";

let reader: LegacyReader;
afterEach(() => reader.stop());

/** Prints the rules, then its input. `$1` is a further command for each reading. */
const program = (command: string) =>
  new LegacyReader(
    [
      "sh",
      "-c",
      `while read -r line; do case $line in -S) ${command};; '#'*) echo "$line";; esac; done`,
      "sh",
    ],
    500,
  );

test("each reading has the rules of that moment, without the padding of the one before", async () => {
  reader = program("i=$((i + 1)); echo '-P POSTROUTING ACCEPT'; echo \"-A POSTROUTING -d 10.0.0.$i/32\"");
  for (const i of [1, 2, 3])
    expect(await reader.read()).toBe(`-P POSTROUTING ACCEPT\n-A POSTROUTING -d 10.0.0.${i}/32`);
});

test.each([
  ["ends", "exit 1"],
  ["does not answer", "sleep 5"],
])("a program that %s is not used again", async (_what, command) => {
  reader = program(command);
  expect([await reader.read(), await reader.read()]).toEqual([undefined, undefined]);
});

test("a missing program does not answer", async () => {
  reader = new LegacyReader(["/nonexistent"]);
  expect(await reader.read()).toBe(undefined);
});

test("an error of the output stream ends the program, which is not used again", async () => {
  let kills = 0;
  reader = new LegacyReader(["restore"], 500, () => ({
    stdin: { write: () => {}, flush: () => {} },
    stdout: new ReadableStream({ pull: () => Promise.reject(new Error("EIO")) }),
    kill: () => kills++,
  }));
  expect([await reader.read(), await reader.read(), kills]).toEqual([undefined, undefined, 2]);
});

test.each(["legacy-reader", "printing"] as const)("a program of %s ends with this process", async which => {
  const start = {
    "legacy-reader": `
      import { LegacyReader } from "${SRC}/xtables/legacy-reader.ts";
      void new LegacyReader(["sh", "-c", "${HANGS}"]).read();`,
    printing: `
      import { startPrinting } from "${SRC}/system/printing.ts";
      await startPrinting(["sh", "-c", "${HANGS}"], false);`,
  };
  const file = `/run/${which}.pid`;
  const exit = `while (!existsSync("${file}")) await Bun.sleep(5); process.exit(0);`;
  const script = `import { existsSync } from "node:fs";${start[which].replaceAll("FILE", file)}${exit}`;
  expect(await Bun.spawn([process.execPath, "-e", script]).exited).toBe(0);
  const pid = (await Bun.file(file).text()).trim();
  for (let tries = 0; existsSync(`/proc/${pid}/exe`) && tries < 100; tries++) await Bun.sleep(20);
  expect(existsSync(`/proc/${pid}/exe`)).toBeFalse();
});

const SRC = join(import.meta.dir, "../../src");
/** Writes the PID of a child process that ignores SIGTERM and outlives the end of its input and output. */
const HANGS = "trap '' TERM PIPE; sleep 30 & echo $! > FILE.new; mv FILE.new FILE; sleep 30";
