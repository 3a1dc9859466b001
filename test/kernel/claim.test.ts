import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { save } from "../../lab/save.ts";
import { WRITERS } from "../../lab/writers.ts";
import { run } from "../../src/system/program.ts";

/** In the empty /run of lab/isolate. */
const FOLDER = "/run/claim";
const STANDS_BY = "another ipmasq is at work on this node, and this one stands by";

let lab: Lab;
beforeEach(async () => {
  lab = await Lab.create();
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER);
});
afterEach(() => lab.close());

const start = (config: string, ...flags: string[]) =>
  RunningAgent.start(lab.node, [`--config=${FOLDER}/${config}`, ...flags]);
const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const rules = () =>
  lab.node.output(["sh", "-c", "nft -as list ruleset; iptables-legacy-save -t nat | grep -v ^#"]);

const [nftables, byNft, byLegacy] = WRITERS;
test.each([
  [nftables, nftables],
  [nftables, byNft],
  [byNft, nftables],
  [byLegacy, byLegacy],
])(
  "a second agent with another config stands by until the first ends (%#)",
  async (one, two) => {
    await keep("first", "10.0.0.0/8");
    await keep("second", "203.0.113.0/24");
    await one?.prepare(lab);
    const first = start("first", ...(one?.flags ?? []));
    await first.log.until("policy in force");
    const before = await rules();
    const second = start("second", ...(two?.flags ?? []));
    expect((await second.log.until(STANDS_BY)).at(-1)).toContain("ss -xlp | grep @ipmasq");
    // Tries again, in which two at work would have changed each other's rules.
    second.program.kill("SIGHUP");
    const once = lab.node.command([
      BINARY,
      "run",
      "--once",
      `--config=${FOLDER}/second`,
      ...(two?.flags ?? []),
    ]);
    expect(await run(once)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(STANDS_BY) });
    expect(await rules()).toBe(before);
    await first.end("SIGKILL");
    await second.log.until("the other ipmasq has ended");
    await second.log.until("policy in force");
    expect([await owner("10.1.2.3"), await owner("203.0.113.7")]).toEqual(["node", "pod"]);
    expect(await second.end()).toBe(0);
    expect((await first.log.all()).filter(line => line.includes("WARN"))).toEqual([]);
  },
  20_000,
);

test("one that stands by is alive, not ready, and ends at once", async () => {
  const first = start("none");
  await first.log.until("policy in force");
  const other = start("none", "--listen=127.0.0.1:9470");
  await other.log.until("serving metrics and health");
  const get = (path: string) =>
    lab.node.output([process.execPath, "-e", ASK, `http://127.0.0.1:9470${path}`]);
  expect(await get("/healthz")).toBe("ok\n");
  expect(await get("/readyz")).toStartWith(STANDS_BY);
  expect(await get("/")).toContain(STANDS_BY);
  expect(await other.end()).toBe(0);
});

test("who takes the name and keeps no rules is waited for one resync interval", async () => {
  const take = `Bun.listen({ unix: "\\0ipmasq", socket: { data() {} } }); console.log("taken")`;
  const stranger = lab.node.spawn([process.execPath, "-e", take]);
  await stranger.stdout.getReader().read();
  const agent = start("none", "--resync-interval=1s");
  await agent.log.until(STANDS_BY);
  await agent.log.until("is not waited for any longer");
  await agent.log.until("rules applied");
  expect(await owner("203.0.113.7")).toBe("node");
  expect(await agent.end()).toBe(0);
});

test("one whose config was never right does not keep another one from working, and stands by when it is", async () => {
  await writeFile(`${FOLDER}/first`, "cidrLimit: 0\n");
  const first = start("first");
  await first.log.until("so the kernel is left as it is");
  await keep("second", "203.0.113.0/24");
  const second = start("second");
  await second.log.until("policy in force");
  await keep("first", "10.0.0.0/8");
  await first.log.until(STANDS_BY);
  expect(await owner("203.0.113.7")).toBe("pod");
  expect(await first.end()).toBe(0);
});

test("one that stands by ends without a word on whoever is at work, and leaves its rules", async () => {
  const first = start("none");
  await first.log.until("policy in force");
  const before = await rules();
  const second = start("none", "--cleanup-on-exit");
  await second.log.until(STANDS_BY);
  expect(await second.end()).toBe(0);
  expect((await second.log.all()).map(line => line.replace(/^\S+ /, ""))).toEqual(["INFO  ipmasq ends"]);
  expect(await rules()).toBe(before);
});

test("a second agent does not share the port of the first", async () => {
  const first = start("none", "--listen=127.0.0.1:9469");
  await first.log.until("serving metrics and health");
  const second = start("none", "--listen=127.0.0.1:9469");
  await second.log.until("metrics and health are not served; trying again");
  await first.end();
  await second.log.until("serving metrics and health");
}, 15_000);

/** A program for `bun -e` that prints what is at a URL. */
const ASK = "process.stdout.write(await (await fetch(process.argv.at(-1))).text())";

function keep(name: string, cidr: string): Promise<void> {
  return save(`${FOLDER}/${name}`, `nonMasqueradeCIDRs: [${cidr}]\n`);
}
