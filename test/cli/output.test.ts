import { expect, test } from "bun:test";
import { constants, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY } from "../../lab/agent.ts";
import { run } from "../../src/system/program.ts";
import { Folder } from "../config/folder.ts";

const shell = (script: string) => run(["bash", "-c", script, BINARY]);

test("output is appended to a file", async () => {
  const file = join(tmpdir(), `ipmasq-print-${process.pid}`);
  const { stdout } = await shell(
    `echo old >${file}; $0 version >>${file} 2>>${file}; cat ${file}; rm ${file}`,
  );
  expect(stdout).toMatch(/^old\nipmasq .*\n$/);
});

test.each([
  ...["version", "help", "schema", "check", "render", "render --format=nft-json", "explain 192.0.2.1"],
  ...["diff --help", "diff --from=/dev/null --to=/dev/null", "status --listen="],
])("%s: a closed pipe is not an error, but a full disk is", async line => {
  const command = `PATH= $0 ${line}`;
  const { exitCode, stdout, stderr } = await shell(command);
  expect(await shell(`${command} | true; exit \${PIPESTATUS[0]}`)).toEqual({ exitCode, stdout: "", stderr });
  expect(await shell(`${command} >&-`)).toEqual({ exitCode, stdout: "", stderr });
  const full = await shell(`${command} >/dev/full`);
  expect(full).toMatchObject({ exitCode: stdout === "" ? exitCode : 74, stdout: "" });
  if (stdout !== "") expect(full.stderr).toMatch(/^ipmasq: cannot print: ENOSPC.*\n$/m);
});

test("connections --watch ends with the reason if it cannot show connections", async () => {
  await using folder = await Folder.create({ config: "resyncInterval: soon\n" });
  const ended = await shell(
    `$0 connections --watch --runtime-dir=${folder.path}/none --config=${folder.path}/config`,
  );
  expect(ended).toMatchObject({ exitCode: 1, stdout: "" });
  expect(ended.stderr).toContain("resyncInterval");
});

test("status --watch ends when the disk is full", async () => {
  const full = await shell("PATH= $0 status --watch --listen= >/dev/full");
  expect(full.exitCode).toBe(74);
  expect(full.stderr).toMatch(/^ipmasq: cannot print: ENOSPC.*\n$/);
});

test("status --watch ends with 0 when standard output is closed", async () => {
  const ended = await shell("PATH= $0 status --watch --listen= --config=/none >&-");
  expect(ended).toMatchObject({ exitCode: 0, stderr: "" });
});

test.each(["text", "json"])(
  "status --watch ends with 0 when its reader closes the pipe: %s",
  async output => {
    const script = `exec 3>&1; (PATH= $0 status --watch --listen= --config=/none --output=${output}; echo "code $?" >&3) | head -1`;
    const { stdout, stderr } = await run(["bash", "-c", script, BINARY]);
    expect(stderr).toBe("");
    expect(stdout).toEndWith("code 0\n");
  },
  15_000,
);

test("a full non-blocking pipe receives the whole output", async () => {
  await using folder = await Folder.create({
    config: `cidrLimit: 9000\nnonMasqueradeCIDRs:\n${Array.from({ length: 9000 }, (_, i) => `  - 10.${i >> 8}.${i & 255}.0/24\n`).join("")}`,
  });
  const render = [BINARY, "render", `--config=${folder.path}/config`];
  const { stdout: whole } = await run(render);
  const fifo = `${folder.path}/fifo`;
  await run(["mkfifo", fifo]);
  const pipe = await open(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const child = Bun.spawn(render, { stdin: "ignore", stdout: pipe.fd, stderr: "pipe" });
  const reader = Bun.spawn(["cat", fifo], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const ended = child.exited.finally(() => pipe.close());
  expect(await reader.stdout.text()).toBe(whole);
  expect({ exitCode: await ended, stderr: await child.stderr.text() }).toEqual({ exitCode: 0, stderr: "" });
});
