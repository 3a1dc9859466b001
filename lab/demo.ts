/**
 * `npm start`: the agent at work on real packets, in namespaces of its own. With `--keep` they stay until
 * Ctrl-C.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { loadConfig } from "../src/config/load.ts";
import { parseAddress } from "../src/net/cidr.ts";
import { decide } from "../src/policy/decision.ts";
import { type Policy, policyOf } from "../src/policy/policy.ts";
import type { Connection } from "./connections.ts";
import { Lab } from "./lab.ts";
import { Lines } from "./lines.ts";
import { save } from "./save.ts";

const CONFIG = "/run/demo/config/ip-masq-agent";
const AGENT = [process.execPath, join(import.meta.dir, "../src/main.ts")];
const OUTSIDE = "203.0.113.7";
const NODE_TABLE = ["nft", "list", "table", "ip", "ip-masq-agent"];

const began = performance.now();
await using lab = await Lab.create();
await mkdir(dirname(CONFIG), { recursive: true });

say(`A Pod (${lab.links.pod.far.ip}), a node, and servers for every address there is: namespaces`);
say("of this process, apart from this machine's network.");
chapter("The agent starts on the node; there is no config, so the defaults apply");
const agent = lab.node.spawn([...AGENT, "run", `--config=${CONFIG}`], {
  stderr: "pipe",
});
const log = new Lines(agent.stderr);
await shown("rules applied");
say(await lab.node.output(NODE_TABLE));
await connections([
  { protocol: "tcp", to: "10.20.30.40", port: 443 },
  { protocol: "udp", to: "172.16.1.2", port: 53 },
  { protocol: "tcp", to: "192.168.7.8", port: 80 },
  { protocol: "udp", to: "169.254.20.10", port: 53 },
  { protocol: "icmp", to: "10.20.30.40" },
  { protocol: "tcp", to: OUTSIDE, port: 443 },
  { protocol: "udp", to: OUTSIDE, port: 53 },
  { protocol: "icmp", to: OUTSIDE },
]);

chapter(`The config is written: ${OUTSIDE} shall see the Pod's address`);
const config = `nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 203.0.113.0/24\nmasqueradeCIDRs:\n  - 10.20.0.0/16\n`;
say(config.trimEnd());
const edited = performance.now();
await save(CONFIG, config);
await until(async () => (await ownerSeen({ protocol: "udp", to: OUTSIDE })) === "pod");
say(`in force after ${since(edited)} ms`);
await shown("rules applied");
await connections([
  { protocol: "tcp", to: OUTSIDE, port: 443 },
  { protocol: "tcp", to: "10.1.2.3", port: 443 },
  { protocol: "tcp", to: "10.20.30.40", port: 443 },
  { protocol: "tcp", to: "192.168.7.8", port: 80 },
]);

chapter("Somebody flushes the node's firewall behind the agent's back");
say("# nft flush ruleset");
await lab.node.output(["nft", "flush", "ruleset"]);
const flushed = performance.now();
await until(async () => (await lab.node.run(NODE_TABLE)).stdout.includes("masquerade"));
say(`restored after ${since(flushed)} ms`);
await shown("repaired");
await connections([
  { protocol: "tcp", to: OUTSIDE, port: 443 },
  { protocol: "tcp", to: "192.168.7.8", port: 80 },
]);

chapter("The counters, one for each connection that asked for a verdict");
say(await lab.node.output(NODE_TABLE));

if (process.argv.includes("--keep")) await kept();
agent.kill("SIGTERM");
await shown("agent stopped");
say(`That was ${((performance.now() - began) / 1000).toFixed(1)} s. Nothing is left behind.`);

/** Makes each connection, and prints what the server saw beside what the policy says. */
async function connections(all: readonly Connection[]): Promise<void> {
  const policy = await policyInForce();
  say("");
  for (const connection of all) {
    const { source } = await lab.connect(connection);
    const { protocol, to, port } = connection;
    const destination = port === undefined ? to : `${to}:${port}`;
    say(
      `  ${protocol.padEnd(4)} ${destination.padEnd(19)} saw ${source.padEnd(13)} the ${lab.owner(source)}'s`,
    );
    say(`       ${why(policy, connection)}`);
  }
}

async function policyInForce(): Promise<Policy> {
  const loaded = await loadConfig(CONFIG, { enableIPv6: false });
  return policyOf(loaded.ok ? loaded.config : {}, {
    enableIPv6: false,
    masqChain: "IP-MASQ-AGENT",
    nomasqAllReservedRanges: false,
    randomFully: true,
    toPorts: undefined,
  });
}

function why(policy: Policy, { to }: Connection): string {
  const destination = parseAddress(to);
  if ("what" in destination) return destination.what;
  const said = decide(policy, { destination });
  return `${said.verdict}: ${said.reason}`;
}

async function ownerSeen(connection: Connection): Promise<string> {
  return lab.ownerSeen(connection);
}

/** Prints the agent's log up to the first line that has `text` in it. */
async function shown(text: string): Promise<void> {
  for (const line of await log.until(text)) say(`agent: ${line.replace(/^\S+ /, "")}`);
}

/** Waits for something to become true, 5 seconds at most. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const began = performance.now();
  while (!(await isSo())) {
    if (performance.now() - began > 5000) throw new Error("nothing happened within 5 s");
    await Bun.sleep(1);
  }
}

async function kept(): Promise<void> {
  const user = process.getuid?.() === 0 && !process.env.LAB_USER ? "" : " --user --preserve-credentials";
  say("");
  say("Everything stays up until Ctrl-C. To look around on the node, in another terminal as the same user:");
  say(`  nsenter --target ${process.env.LAB_PID}${user} --mount nsenter --net=/run/netns/node`);
  const { promise, resolve } = Promise.withResolvers<void>();
  process.once("SIGINT", () => resolve());
  process.once("SIGTERM", () => resolve());
  await promise;
}

function since(moment: number): number {
  return Math.round(performance.now() - moment);
}

function chapter(title: string): void {
  say(`\n=== ${title}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
