import { beforeEach, expect, test } from "bun:test";
import { labPerTest } from "../lab.ts";
import { CrashingNft, type NftMode } from "./crashing-nft.ts";

const lab = labPerTest();
let nft: CrashingNft;
beforeEach(async () => {
  nft = await CrashingNft.create();
  await lab.node.output(["nft", "add table ip theirs"]);
});

const start = (words: string) =>
  lab.node.spawn([...nft.environment, "nft", ...words.split(" ")], { stdout: "pipe", stderr: "pipe" });

/** The exit code of a call, or the signal that killed it. */
async function end(words: string): Promise<string | number | null> {
  const child = start(words);
  await child.exited;
  return child.signalCode ?? child.exitCode;
}

const CALLS = [
  "--version",
  "list chains",
  "-j list table ip theirs",
  "list tables",
  "-j list ruleset",
  "-j -f /dev/null",
  "--check -j -f /dev/null",
] as const;

test.each<[NftMode, readonly string[]]>([
  ["ok", []],
  ["leave a child", []],
  ["crash", CALLS.filter(call => call !== "list chains")],
  ["crash beside newer", CALLS.slice(3)],
])("%s: crashes on %j alone", async (mode, crashing) => {
  await nft.become(mode);
  const ended = CALLS.map(async call => [call, await end(call)]);
  expect(await Promise.all(ended)).toEqual(
    CALLS.map(call => [call, crashing.includes(call) ? "SIGSEGV" : 0]),
  );
  expect((await nft.calls()).toSorted()).toEqual(CALLS.toSorted());
});

test("fail: prints a message", async () => {
  await nft.become("fail", "Error: no");
  const child = start("list chains");
  expect([await child.exited, await child.stderr.text()]).toEqual([1, "Error: no\n"]);
});

test("hang: does not end", async () => {
  await nft.become("hang");
  const child = start("list chains");
  expect(await Promise.race([child.exited, Bun.sleep(200).then(() => "still runs")])).toBe("still runs");
});

test("leave a child: prints its output, which stays open", async () => {
  await nft.become("leave a child");
  const child = start("list tables");
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  expect(new TextDecoder().decode(value)).toBe("table ip theirs\n");
  await child.exited;
  expect(await Promise.race([reader.read(), Bun.sleep(200).then(() => "open")])).toBe("open");
});

test("running monitors crash too", async () => {
  const monitor = start("monitor");
  while ((await nft.calls()).length === 0) await Bun.sleep(1); // after that it reads its mode
  await nft.become("crash");
  await monitor.exited;
  expect(monitor.signalCode).toBe("SIGSEGV");
});
