/** Checks of the built binary with each writer, while new connections pass the node. */

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { BINARY, RunningAgent } from "../../../../lab/agent.ts";
import { Lab } from "../../../../lab/lab.ts";
import { save } from "../../../../lab/save.ts";
import { WRITERS, type Writer } from "../../../../lab/writers.ts";
import { iptablesTampering, NFT_TAMPERING } from "../../../kernel/tampering.ts";
import { type Finding, judged } from "./finding.ts";

/** New flows per second to all destinations, which an emulated machine sustains while it does other work. */
export const RATE = 4000;

/** Duration of the load in seconds, longer than any check. */
const LOAD = { flowsPerSecond: RATE, seconds: 900 };

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/guest/ip-masq-agent";
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

/** Configs. All keep KEPT and masquerade OUTBOUND; the first two differ in almost all other CIDRs. */
const ONE = "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24, 100.64.0.0/10]\n";
const OTHER = "nonMasqueradeCIDRs: [198.18.0.0/15, 10.1.0.0/16, 172.16.0.0/12, 10.128.0.0/9]\n";

const CHANGES = 50;
const INSTALLS = 2;
const SWITCHES = 6;

/** Saves the configs in turn. Each second change also switches `enforceNonMasquerade`. */
export async function changes(writer: Writer): Promise<Finding> {
  await using lab = await labFor(writer);
  const agent = await RunningAgent.started(lab.node, argv(writer));
  const load = await lab.load({ destinations: [KEPT, OUTBOUND], ...LOAD });
  for (let i = 0; i < CHANGES; i++) {
    const enforce = i % 4 < 2 ? "enforceNonMasquerade: true\n" : "";
    await saveConfig((i % 2 === 0 ? OTHER : ONE) + enforce);
    await agent.log.until("rules applied");
  }
  const [kept, outbound] = await load.stop();
  return judged(`${CHANGES} changes`, kept, outbound);
}

/** Installs the rules repeatedly. Before each installation, nothing masquerades OUTBOUND. */
export async function installs(writer: Writer): Promise<Finding> {
  await using lab = await labFor(writer);
  const load = await lab.load({ destinations: [KEPT], ...LOAD });
  for (let i = 0; i < INSTALLS; i++) {
    await lab.node.output([BINARY, "run", "--once", ...argv(writer)]);
    await lab.node.output([BINARY, "cleanup"]);
  }
  const [kept] = await load.stop();
  return judged(`${INSTALLS} installs`, kept);
}

/** Removes or adds rules, and waits until the agent reports the repair. */
export async function repairs(writer: Writer): Promise<Finding> {
  await using lab = await labFor(writer);
  await saveConfig("nonMasqueradeCIDRs: [10.0.0.0/8]\n");
  const agent = await RunningAgent.started(lab.node, [...argv(writer), "--resync-interval=1h"]);
  const load = await lab.load({ destinations: [KEPT], ...LOAD });
  const commands = tampering(writer);
  for (const command of commands) {
    await lab.node.output(command);
    await agent.log.until("drift repaired");
    const owners = await Promise.all([KEPT, OUTBOUND].map(to => owner(lab, to)));
    if (owners.join() !== "pod,node") return { ok: false, cell: "not repaired", raw: { command, owners } };
  }
  const [kept] = await load.stop();
  return judged(`${commands.length} repairs`, kept);
}

/** Restarts the agent with another writer. */
export async function switches(): Promise<Finding> {
  const [first, ...next] = Array.from({ length: SWITCHES + 1 }, (_, i) => WRITERS[i % WRITERS.length]);
  if (first === undefined) throw new Error("there are no writers");
  await using lab = await labFor(first);
  await (await RunningAgent.started(lab.node, argv(first))).end();
  const load = await lab.load({ destinations: [KEPT, OUTBOUND], ...LOAD });
  for (const writer of next) {
    if (writer === undefined) continue;
    await prepare(lab, writer);
    const agent = await RunningAgent.started(lab.node, argv(writer));
    await agent.log.until("leftover rules removed"); // a slow kernel removes them after the first sync
    await agent.end();
    const found = await holders(lab);
    if (found.join() !== writer.name) return { ok: false, cell: "leftovers", raw: { writer, found } };
  }
  const [kept, outbound] = await load.stop();
  return judged(`${SWITCHES} switches`, kept, outbound);
}

/** Removes the rules of each writer among foreign rules. */
export async function cleanup(): Promise<Finding> {
  await using lab = await Lab.create();
  const theirs = ["-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE"];
  for (const variant of VARIANTS) await lab.node.output([variant, ...theirs]);
  await lab.node.output(["nft", "add table ip theirs; add chain ip theirs ip-masq-agent"]);
  for (const writer of WRITERS) {
    await saveConfig(ONE);
    await prepare(lab, writer);
    const before = await everything(lab);
    await lab.node.output([BINARY, "run", "--once", ...argv(writer)]);
    const found = await holders(lab);
    await lab.node.output([BINARY, "cleanup"]);
    const after = await everything(lab);
    const ok = found.join() === writer.name && after === before;
    if (!ok) return { ok, cell: `not as before, ${writer.name}`, raw: { found, before, after } };
  }
  return { ok: true, cell: "as before", raw: {} };
}

const VARIANTS = ["iptables-nft", "iptables-legacy"];

async function labFor(writer: Writer): Promise<Lab> {
  const lab = await Lab.create();
  await saveConfig(ONE);
  await prepare(lab, writer);
  return lab;
}

async function prepare(lab: Lab, writer: Writer): Promise<void> {
  for (const variant of VARIANTS) await lab.node.run([variant, "-t", "mangle", "-X"]);
  await writer.prepare(lab);
}

function argv({ flags }: Writer): string[] {
  return [`--config=${CONFIG}`, ...flags];
}

/** Fewer than the agent repairs before it considers the rules contested. */
function tampering({ name }: Writer): readonly (readonly string[])[] {
  if (name === "nftables") return NFT_TAMPERING.slice(0, 5).map(command => ["nft", command]);
  return iptablesTampering(name).slice(0, name === "iptables-legacy" ? 2 : 5);
}

async function saveConfig(config: string): Promise<void> {
  await mkdir(dirname(CONFIG), { recursive: true });
  await save(CONFIG, config);
}

async function owner(lab: Lab, to: string): Promise<string> {
  return lab.ownerSeen({ protocol: "udp", to });
}

/** The writers with ipmasq's rules in the node's kernel. */
async function holders(lab: Lab): Promise<string[]> {
  const nft = await lab.node.output(["nft", "list", "tables"]);
  const saved = await Promise.all(VARIANTS.map(variant => lab.node.output([`${variant}-save`, "-t", "nat"])));
  return [
    ...(nft.includes("ip-masq-agent") ? ["nftables"] : []),
    ...VARIANTS.filter((_, i) => saved[i]?.includes("IP-MASQ-AGENT")),
  ];
}

/** All rules of the node, without counters. */
async function everything(lab: Lab): Promise<string> {
  const rules = [
    await lab.node.output(["nft", "-s", "list", "ruleset"]),
    await lab.node.output(["iptables-legacy-save"]),
  ];
  return rules.join("").replace(/\[\d+:\d+\]|^#.*\n/gm, "");
}
