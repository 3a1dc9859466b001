import { afterEach, expect, test } from "bun:test";
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
