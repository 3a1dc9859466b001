import { afterAll, beforeAll, expect, test } from "bun:test";
import { constants, readSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { createLog } from "../../src/observe/log.ts";
import { lineWriter } from "../../src/system/output.ts";
import { run } from "../../src/system/program.ts";
import { Folder } from "../config/folder.ts";

let folder: Folder;
beforeAll(async () => {
  folder = await Folder.create({});
});
afterAll(() => folder[Symbol.asyncDispose]());

/** A pipe: a blocking end for the program under test, and a non-blocking one to fill and drain the pipe. */
async function pipe(name: string): Promise<{ end: FileHandle; free: FileHandle } & AsyncDisposable> {
  const path = `${folder.path}/${name}`;
  await run(["mkfifo", path]);
  const free = await open(path, constants.O_RDWR | constants.O_NONBLOCK);
  const end = await open(path, constants.O_RDWR);
  const close = async () => {
    await free.close();
    await end.close();
  };
  return { end, free, [Symbol.asyncDispose]: close };
}

/** Repeats the call until the pipe is full or empty. */
function untilItWouldBlock(call: () => void): void {
  try {
    for (;;) call();
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
  }
}

const fill = ({ fd }: FileHandle) => untilItWouldBlock(() => writeSync(fd, "x"));

function drain({ fd }: FileHandle): string {
  let text = "";
  const bytes = new Uint8Array(65_536);
  untilItWouldBlock(() => {
    text += new TextDecoder().decode(bytes.subarray(0, readSync(fd, bytes)));
  });
  return text;
}

test("while the reader stalls, lines are lost but never torn, and the log counts them", async () => {
  await using ends = await pipe("log");
  const log = createLog("info", "text", lineWriter(ends.end.fd));
  log.info("before");
  fill(ends.free);
  for (let i = 0; i < 3; i++) log.info(`lost ${i}`);
  const before = drain(ends.free);
  expect(before).toMatch(/^\S+ INFO {2}before\nx+$/);
  log.info("after", { long: "y".repeat(100_000) });
  log.info("lost too, because the rest of the long line is pending");
  const long = drain(ends.free);
  log.info("end");
  const lines = (long + drain(ends.free)).replaceAll(/^\S+ /gm, "").split("\n");
  expect(lines).toEqual([
    "WARN  log lines lost because the reader stalled lost=3",
    `INFO  after long=${"y".repeat(100_000)}`,
    "WARN  log lines lost because the reader stalled lost=1",
    "INFO  end",
    "",
  ]);
});

test("an agent with a stalled log reader writes rules, repairs them, and ends", async () => {
  await using ends = await pipe("agent");
  fill(ends.free);
  const agent = Bun.spawn(
    [BINARY, "--listen=", "--backend=nftables", "--logtostderr", `--config=${folder.path}/none`],
    {
      stdin: "ignore",
      stdout: "ignore",
      stderr: ends.end.fd,
    },
  );
  const stands = async () =>
    (await run(["nft", "list", "chain", "ip", "ip-masq-agent", "IP-MASQ-AGENT"])).exitCode === 0;
  while (!(await stands())) await Bun.sleep(10);
  await run(["nft", "delete", "table", "ip", "ip-masq-agent"]);
  while (!(await stands())) await Bun.sleep(10);
  agent.kill("SIGTERM");
  expect(await agent.exited).toBe(0);
  expect(drain(ends.free)).toMatch(/^x+$/);
  await run([BINARY, "cleanup"]);
}, 15_000);
