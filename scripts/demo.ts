/** `npm start`: the agent at work on real packets, in separate namespaces. `--keep` keeps them until Ctrl-C. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Lab } from "../lab/lab.ts";
import { Lines } from "../lab/lines.ts";
import { save } from "../lab/save.ts";
import { loadConfig } from "../src/config/load.ts";
import { parseAddress } from "../src/net/cidr.ts";
import { decide } from "../src/policy/decision.ts";
import { policyOf } from "../src/policy/policy.ts";

const CONFIG = "/run/demo/config/ip-masq-agent";
const AGENT = [process.execPath, join(import.meta.dir, "../src/main.ts")];
const OUTSIDE = "203.0.113.7";
const NODE_TABLE = ["nft", "list", "table", "ip", "ip-masq-agent"];

const began = performance.now();
await using lab = await Lab.create();
await mkdir(dirname(CONFIG), { recursive: true });

say(`A Pod (${lab.links.pod.far.ip}), a node, and servers at every address, in network namespaces of this`);
say("process; nothing reaches this machine's network.");
chapter("The agent starts on the node, without a config: the defaults apply");
const agent = lab.node.spawn([...AGENT, "run", `--config=${CONFIG}`], { stderr: "pipe" });
const log = new Lines(agent.stderr);
await shown("rules applied");
say(await lab.node.output(NODE_TABLE));
await connect(
  ["tcp", "10.20.30.40", 443],
  ["udp", "172.16.1.2", 53],
  ["tcp", "192.168.7.8", 80],
  ["udp", "169.254.20.10", 53],
  ["icmp", "10.20.30.40"],
  ["tcp", OUTSIDE, 443],
  ["udp", OUTSIDE, 53],
  ["icmp", OUTSIDE],
);

chapter(`A config is saved: ${OUTSIDE} gets the Pod's address`);
const config = `nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 203.0.113.0/24\nmasqueradeCIDRs:\n  - 10.20.0.0/16\n`;
say(config.trimEnd());
const edited = performance.now();
await save(CONFIG, config);
await until(async () => (await lab.ownerSeen({ protocol: "udp", to: OUTSIDE })) === "pod");
say(`in force after ${since(edited)} ms`);
await shown("rules applied");
await connect(
  ["tcp", OUTSIDE, 443],
  ["tcp", "10.1.2.3", 443],
  ["tcp", "10.20.30.40", 443],
  ["tcp", "192.168.7.8", 80],
);

chapter("Another program flushes the node's rules");
say("# nft flush ruleset");
await lab.node.output(["nft", "flush", "ruleset"]);
const flushed = performance.now();
await until(async () => (await lab.node.run(NODE_TABLE)).stdout.includes("masquerade"));
say(`repaired after ${since(flushed)} ms`);
await shown("repaired");
await connect(["tcp", OUTSIDE, 443], ["tcp", "192.168.7.8", 80]);

chapter("The counters: one for each connection that needed a verdict");
say(await lab.node.output(NODE_TABLE));

if (process.argv.includes("--keep")) await keep();
agent.kill("SIGTERM");
await shown("agent stopped");
say(`The demo took ${(since(began) / 1000).toFixed(1)} s. Nothing is left behind.`);

/** Makes connections, and prints what the server saw and what the policy says. */
async function connect(
  ...all: (readonly ["tcp" | "udp" | "icmp", to: string, port?: number])[]
): Promise<void> {
  const loaded = await loadConfig(CONFIG, { enableIPv6: false });
  const policy = policyOf(loaded.ok ? loaded.config : {}, {
    enableIPv6: false,
    masqChain: "IP-MASQ-AGENT",
    nomasqAllReservedRanges: false,
    randomFully: true,
    toPorts: undefined,
  });
  say("");
  for (const [protocol, to, port] of all) {
    const { source } = await lab.connect({ protocol, to, ...(port === undefined ? {} : { port }) });
    const shown = port === undefined ? to : `${to}:${port}`;
    say(`  ${protocol.padEnd(4)} ${shown.padEnd(19)} saw ${source.padEnd(13)} the ${lab.owner(source)}'s`);
    const destination = parseAddress(to);
    if ("what" in destination) throw new Error(destination.what);
    const { verdict, reason } = decide(policy, { destination });
    say(`       ${verdict}: ${reason}`);
  }
}

/** Prints the agent's log up to the first line that contains `text`. */
async function shown(text: string): Promise<void> {
  for (const line of await log.until(text)) say(`agent: ${line.replace(/^\S+ /, "")}`);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const began = performance.now();
  while (!(await isSo())) {
    if (since(began) > 5000) throw new Error("nothing happened within 5 s");
    await Bun.sleep(1);
  }
}

async function keep(): Promise<void> {
  const user = process.getuid?.() === 0 && !process.env.LAB_USER ? "" : " --user --preserve-credentials";
  say(
    "\nThe namespaces stay until Ctrl-C. To look around on the node, in another terminal as the same user:",
  );
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
