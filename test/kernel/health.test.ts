import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { output } from "../../lab/output.ts";

/** In the empty /run of lab/isolate, in whose own namespace the agent is at work here. */
const CONFIG = "/run/health/ip-masq-agent";

let agent: Bun.Subprocess<"ignore", "ignore", "pipe">;
let log: Lines;

beforeEach(async () => {
  await rm("/run/health", { recursive: true, force: true });
  await mkdir("/run/health");
});
afterEach(async () => {
  agent.kill("SIGKILL");
  await agent.exited;
  await output(["nft", "flush", "ruleset"]);
});

/** Returns the URL that it serves. */
async function start(): Promise<string> {
  agent = Bun.spawn([BINARY, `--config=${CONFIG}`, "--listen=127.0.0.1:0"], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  log = new Lines(agent.stderr);
  const [serving = ""] = (await log.until("serving metrics and health")).slice(-1);
  return `http://${/listen=(\S+)/.exec(serving)?.[1]}`;
}

async function save(config: string): Promise<void> {
  await writeFile(`${CONFIG}.new`, config);
  await rename(`${CONFIG}.new`, CONFIG);
}

/** What there is to see of the config and of the kernel. */
async function state(url: string) {
  const ready = await fetch(`${url}/readyz`);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const value = (name: string) => Number(new RegExp(`^ipmasq_${name} (\\S+)$`, "m").exec(metrics)?.[1]);
  return {
    ready: [ready.status, (await ready.text()).trim()],
    good: value("config_good"),
    inSync: value("kernel_in_sync"),
    hash: value("config_hash"),
    cidrs: value("config_cidrs"),
    page: await (await fetch(`${url}/`)).text(),
  };
}

test("readiness, metrics, page and log agree about a config that becomes wrong, and right again", async () => {
  await save("nonMasqueradeCIDRs: [10.0.0.0/8]\n");
  const url = await start();
  const before = await state(url);
  expect(before).toMatchObject({ ready: [200, "ok"], good: 1, inSync: 1, cidrs: 2 });
  const rules = await output(["nft", "list", "ruleset"]);

  await save("nonMasqueradeCIDRs: [10.0.0.1/8]\n");
  const problem = `${CONFIG}:1:22: nonMasqueradeCIDRs[0]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?`;
  const said = await log.until("the last good one stays in force");
  expect(said.filter(line => line.includes(problem))).toHaveLength(1);
  const wrong = await state(url);
  expect(wrong).toMatchObject({ ready: [200, "ok"], good: 0, inSync: 1, cidrs: 2 });
  expect(wrong.hash).not.toBe(before.hash);
  expect(wrong.page).toContain(Bun.escapeHTML(problem));
  expect(await output(["nft", "list", "ruleset"])).toBe(rules);

  await save("nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\n");
  await log.until("rules applied");
  expect(await state(url)).toMatchObject({ ready: [200, "ok"], good: 1, inSync: 1, cidrs: 3 });
});

test("an agent that never had a good config is alive, but not ready", async () => {
  await save("cidrLimit: no\n");
  const url = await start();
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(await state(url)).toMatchObject({
    ready: [503, "there has been no good config yet"],
    good: 0,
    inSync: 0,
    cidrs: 0,
  });
  expect(await output(["nft", "list", "ruleset"])).toBe("");
});
