import { beforeEach, describe, expect, test } from "bun:test";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { output } from "../../lab/output.ts";
import { save } from "../../lab/save.ts";
import { writersOf } from "../../src/agent/writers.ts";
import { HangingFileSystem } from "../hanging-file-system.ts";
import { freshFolder, labPerTest } from "../lab.ts";
import { absent } from "../programs.ts";

/** lab/isolate mounts an empty /run. */
const FOLDER = "/run/config-file";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const OTHER_FOLDER = "/run/other-config-file";
const KEPT = "203.0.113.7";

const lab = labPerTest();
beforeEach(async () => {
  await freshFolder(FOLDER);
  await mkdir(OTHER_FOLDER, { recursive: true });
  await writeFile(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8]\n");
});

/** Empties the file, then writes it in two parts. Each state is a valid config. */
const SLOWLY = `exec 3>${CONFIG}; sleep 0.7; echo nonMasqueradeCIDRs: >&3; sleep 0.7; echo '  - 203.0.113.0/24' >&3; sleep 0.7`;

describe("a config that is written slowly in place is applied completely or not at all", () => {
  test.each([
    ["when its writer is seen to close it", [BINARY]],
    [
      "when it is quiet, if its writer cannot be seen",
      // As in the systemd unit, which hides the files of processes with more capabilities.
      ["setpriv", "--bounding-set=-sys_ptrace", BINARY],
    ],
  ])(
    "%s",
    async (_when, command) => {
      const agent = RunningAgent.start(lab.node, [`--config=${CONFIG}`], command);
      await agent.log.until("policy in force");
      await lab.node.output(["sh", "-c", SLOWLY]);
      const closed = performance.now();
      const lines = await agent.log.until("policy in force");
      const took = performance.now() - closed;
      expect(lines.filter(line => line.includes("policy in force"))).toEqual([
        expect.stringContaining('nonMasqueradeCIDRs="169.254.0.0/16 203.0.113.0/24"'),
      ]);
      expect(await lab.ownerSeen({ protocol: "udp", to: KEPT })).toBe("pod");
      if (command.length === 1) expect(took).toBeLessThan(2000);
      else expect(took).toBeGreaterThan(4000);
      expect(await agent.end()).toBe(0);
    },
    20_000,
  );
});

describe("a file system that hangs under the config", () => {
  if (HangingFileSystem.missing) absent(HangingFileSystem.missing);
  else {
    test("blocks neither HTTP nor repairs nor the end of the agent", async () => {
      let hanging = await HangingFileSystem.mount(FOLDER);
      const listen = "--listen=0.0.0.0:9469";
      const agent = RunningAgent.start(lab.node, [`--config=${CONFIG}`, listen]);
      const http = async (path: string) =>
        (
          await lab.node.output(["curl", "-s", "-m1", "-w", "%{http_code}", `http://127.0.0.1:9469${path}`])
        ).slice(-3);
      await agent.log.until("serving metrics and health");
      expect([await http("/healthz"), await http("/readyz")]).toEqual(["200", "503"]);
      await hanging.release();
      await agent.log.until("rules applied");

      hanging = await HangingFileSystem.mount(FOLDER);
      agent.program.kill("SIGHUP");
      // Another directory: FUSE locks each one, and a process that waits for the lock cannot be killed.
      const other = await HangingFileSystem.mount(OTHER_FOLDER);
      const check = lab.node.run([BINARY, "check", `--config=${OTHER_FOLDER}/config`]);
      for (let i = 0; i < 3; i++) {
        await lab.node.output(["nft", "flush", "ruleset"]);
        const began = performance.now();
        await agent.log.until("repaired");
        expect(performance.now() - began).toBeLessThan(1000);
      }
      const [warning = ""] = (await agent.log.until("cannot be read")).slice(-1);
      expect(warning).toContain(
        "WARN  config cannot be read (timed out after 5s), last good policy stays active",
      );
      expect([await http("/healthz"), await http("/readyz")]).toEqual(["200", "200"]);
      expect(await check).toEqual({
        exitCode: 1,
        stdout: `${OTHER_FOLDER}/config: config cannot be read (timed out after 5s); check its file system: the server or daemon behind it does not respond\n`,
        stderr: "",
      });
      await other.release();
      await hanging.release();
      await agent.log.until("config can be read again");
      await save(CONFIG, "nonMasqueradeCIDRs: [203.0.113.0/24]\n");
      await agent.log.until("rules applied");

      hanging = await HangingFileSystem.mount(FOLDER);
      agent.program.kill("SIGHUP");
      await Bun.sleep(100);
      const began = performance.now();
      expect(await agent.end()).toBe(0);
      expect(performance.now() - began).toBeLessThan(1000);
      await hanging.release();
    }, 30_000);
  }
});

test("a process that writes a file with the same inode number in another file system does not count as its writer", async () => {
  const places = ["/run/same-one", "/run/same-two"];
  for (const place of places) {
    await mkdir(place, { recursive: true });
    await output(["mount", "-t", "tmpfs", "tmpfs", place]);
    await writeFile(`${place}/config`, "# the same\n");
  }
  const [one = "", two = ""] = places.map(it => `${it}/config`);
  expect((await stat(one)).ino).toBe((await stat(two)).ino);
  const writer = Bun.spawn(["sh", "-c", 'exec 3>>"$0"; echo ready; read line', two], {
    stdin: "pipe",
    stdout: "pipe",
  });
  await writer.stdout.getReader().read();
  expect(await writersOf(two)).toBe("open");
  expect(await writersOf(one, true)).toBe("none");
  writer.kill();
  await writer.exited;
  for (const place of places) await output(["umount", place]);
});
