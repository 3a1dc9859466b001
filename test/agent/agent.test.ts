import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { save } from "../../lab/save.ts";
import { Agent } from "../../src/agent/agent.ts";
import { type ConfigEvents, ConfigReader } from "../../src/agent/config-reader.ts";
import { DesiredPolicy } from "../../src/agent/desired-policy.ts";
import { NodeLock } from "../../src/agent/node-lock.ts";
import { Failover } from "../../src/backends/failover.ts";
import { createLog } from "../../src/observe/log.ts";
import { fakes } from "../backends/fake-backend.ts";
import { agentState } from "../observe/agent-states.ts";
import { DEFAULT_FLAGS } from "../policies.ts";

/** A preferred backend that fails is tried again at each sync. */
const PAUSES = { first: 0, last: 0, probe: 1000 };

let folder: string;
let agent: Agent;
let lock: NodeLock;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "agent-"));
});
afterEach(async () => {
  lock.release();
  await rm(folder, { recursive: true });
});

const configure = (text: string) => save(join(folder, "config"), `${text}\n`);
const once = (trigger: "start" | "kernel") => agent.sync({ triggers: [trigger], by: undefined });
/**
 * An agent that writes with backends in memory, and what it logs.
 *
 * @param failing whether nft fails from the start, so that iptables was chosen in its place
 */
function made(failing = false) {
  const lines: string[] = [];
  const log = createLog("info", "text", line => lines.push(line.trimEnd().replace(/^\S+ /, "")));
  const { nft, iptables, chosen } = fakes();
  const flags = { ...DEFAULT_FLAGS, enableIPv6: undefined };
  const times = { quiet: 50, deadline: 1000 };
  const config = join(folder, "config");
  const open = (events: ConfigEvents) => new ConfigReader(config, events, times);
  const state = agentState();
  const desired = new DesiredPolicy({ config, flags, resyncInterval: undefined }, state, log, open);
  lock = new NodeLock(join(folder, "run"), log, {});
  const [preferred, backend = chosen.backend] = chosen.alternatives;
  const inPlace = failing && preferred ? { ...chosen, backend, preferred, failure: "nft: crashed" } : chosen;
  if (failing) nft.become("crashed");
  agent = new Agent({ desired, backend: new Failover(inPlace, 3, PAUSES), state, log, lock });
  return { lines, nft, iptables };
}

test("a repair says how many rules were added and removed, with the first of each", async () => {
  await configure("nonMasqueradeCIDRs: [10.0.0.0/8]");
  const { lines, nft } = made();
  expect(await once("start")).toMatchObject({ result: "applied" });
  expect(lines.at(-1)).toBe("INFO  rules applied added=1 removed=0");
  nft.kernel.set("ip", "ip 0.0.0.0/0");
  const facts = 'added=1 removed=1 firstAdded="ip 169.254.0.0/16,10.0.0.0/8" firstRemoved="ip 0.0.0.0/0"';
  const { result, message } = await once("kernel");
  expect([result, message]).toEqual(["repaired", facts.replaceAll('"', "")]);
  expect(lines.at(-1)).toBe(`WARN  drift repaired ${facts}`);
  expect(await once("kernel")).toMatchObject({ result: "unchanged" });
});

test("a family that fails is a warning as long as it is enabled", async () => {
  await configure("enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]");
  const { nft } = made();
  nft.become("unsupported", "ip6");
  const stop = new AbortController();
  const begun = Promise.withResolvers<void>();
  const ended = agent.run(stop.signal, { firstSync: begun.resolve });
  await begun.promise;
  const { warnings } = agent.state;
  expect(warnings.get("ip6")).toBe("IPv6 rules are not in force: nft: unsupported");
  const changed = Promise.withResolvers<void>();
  agent.state.onSync(({ trigger }) => void (trigger === "config" && changed.resolve()));
  await configure("nonMasqueradeCIDRs: [10.0.0.0/8]");
  await changed.promise;
  expect([...warnings]).toEqual([]);
  stop.abort();
  await ended;
});

/** Runs the agent until something has happened, and returns its syncs. */
async function lived(until: Promise<unknown>) {
  const stop = new AbortController();
  const ended = agent.run(stop.signal);
  await until;
  stop.abort();
  await ended;
  return agent.state.syncs.map(({ result }) => result);
}

test("without a good config a preferred backend that fails is not tried again and again", async () => {
  await configure("nonMasqueradeCIDRs: [10.0.0.1/8]");
  made(true);
  expect(await lived(Bun.sleep(200))).toEqual(["failed"]);
});

test("a fallback that begins with the agent is a warning until the preferred backend works", async () => {
  await configure("nonMasqueradeCIDRs: [10.0.0.0/8]");
  const { lines, nft } = made(true);
  const applied = Promise.withResolvers<void>();
  const back = Promise.withResolvers<void>();
  agent.state.onSync(() => (agent.backend.writer === "nft" ? back.resolve() : applied.resolve()));
  const life = lived(back.promise);
  await applied.promise;
  const warning = "iptables-nft writes the rules because nft fails: nft: crashed";
  expect(agent.state.warnings.get("fallback")).toBe(warning);
  expect(lines).toContain(`WARN  ${warning}`);
  nft.become("ok");
  await life;
  expect(agent.state.warnings.has("fallback")).toBe(false);
});
