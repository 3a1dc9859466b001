import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Lab } from "../../lab/lab.ts";
import { Lines } from "../../lab/lines.ts";
import { save } from "../../lab/save.ts";
import { version } from "../../package.json";
import { loadConfig } from "../../src/config/load.ts";
import { parseAddress } from "../../src/net/cidr.ts";
import { decide } from "../../src/policy/decision.ts";
import { policyOf } from "../../src/policy/policy.ts";
import { commit } from "../commit.ts";
import { forwardInto } from "./forward.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/demo/config/ip-masq-agent";
const FLAGS = {
  enableIPv6: false,
  masqChain: "IP-MASQ-AGENT",
  nomasqAllReservedRanges: false,
  randomFully: true,
  toPorts: undefined,
};

const OWNERS = { pod: "the Pod's address", node: "the node's address", other: "another address" };

/** `ipmasq` of this checkout, without a build. */
const IPMASQ = [
  process.execPath,
  ...["--define", `IPMASQ_VERSION=${JSON.stringify(version)}`],
  ...["--define", `IPMASQ_COMMIT=${JSON.stringify(commit)}`],
  join(import.meta.dir, "../../src/main.ts"),
];

/** A lab with an agent, whose events and connections are printed. */
export class Stage implements AsyncDisposable {
  readonly #agent: Bun.Subprocess;
  readonly #log: Lines;

  private constructor(readonly lab: Lab) {
    const argv = ["env", `IPMASQ_CONFIG=${CONFIG}`, ...IPMASQ, "run"];
    const agent = lab.node.spawn(argv, { stderr: "pipe" });
    this.#agent = agent;
    this.#log = new Lines(agent.stderr);
  }

  /** Starts the agent with a config, or without one. */
  static async open(title: string, config?: string): Promise<Stage> {
    const lab = await Lab.create();
    await mkdir(dirname(CONFIG), { recursive: true });
    say(`ipmasq ${version} (commit ${commit})`);
    say(
      `A Pod (${lab.links.pod.far.ip}), a node (${lab.links.outside.near.ip}), and servers at every address, in network`,
    );
    say("namespaces of this process; nothing reaches this machine's network.");
    chapter(title);
    if (config !== undefined) await writeConfig(config);
    const stage = new Stage(lab);
    await stage.shown("rules applied");
    return stage;
  }

  /** Saves a config, and returns when the agent's new rules are in force. */
  async configure(config: string): Promise<void> {
    await writeConfig(config);
    await this.shown("rules applied");
  }

  /** Runs a program on the node, and prints its output; a name of several words is run by a shell. */
  async run(command: string): Promise<void> {
    say(`# ${command}`);
    const { stdout } = await this.lab.node.run(["sh", "-c", command]);
    if (stdout !== "") say(stdout.trimEnd());
  }

  /** Runs a command of ipmasq on the node, and prints its output, or its first line and the part with a heading. */
  async ipmasq(command: string, heading?: string): Promise<void> {
    say(`$ ipmasq ${command}`);
    const argv = ["env", `IPMASQ_CONFIG=${CONFIG}`, ...IPMASQ, ...command.split(" ")];
    const { stdout, stderr } = await this.lab.node.run(argv);
    const parts = (stdout + stderr).trimEnd().split("\n\n");
    const shown = parts.filter(part => heading === undefined || part.startsWith(heading));
    if (heading !== undefined) say(`${parts[0]?.split("\n")[0]}\n…`);
    say(shown.join("\n\n"));
  }

  /** Makes connections, and prints the address that the server saw, and the policy's reason. */
  async connect(...all: (readonly ["tcp" | "udp" | "icmp", to: string, port?: number])[]): Promise<void> {
    const loaded = await loadConfig(CONFIG, { enableIPv6: false });
    const policy = policyOf(loaded.ok ? loaded.config : {}, FLAGS);
    say("");
    for (const [protocol, to, port] of all) {
      const { source } = await this.lab.connect({ protocol, to, ...(port === undefined ? {} : { port }) });
      const shown = port === undefined ? to : `${to}:${port}`;
      say(`  ${protocol.padEnd(4)} ${shown.padEnd(18)} sees ${source}, ${OWNERS[this.lab.owner(source)]}`);
      const destination = parseAddress(to);
      if ("what" in destination) throw new Error(destination.what);
      const { verdict, reason } = decide(policy, { destination });
      say(`       ${verdict}: ${reason}`);
    }
  }

  /** Prints the agent's log up to the first line that contains `text`. */
  async shown(text: string): Promise<void> {
    for (const line of await this.#log.until(text)) say(`agent: ${line.replace(/^\S+ /, "")}`);
  }

  /** Keeps the namespaces until Ctrl-C. */
  async keep(): Promise<void> {
    const { DEMO_SOCKET: socket, DEMO_URL: url, LAB_PID: pid, LAB_USER: isUser } = process.env;
    say("");
    if (socket !== undefined) {
      await forwardInto(this.lab.node, socket);
      say(`The status page: ${url}`);
    }
    const user = process.getuid?.() === 0 && !isUser ? "" : " --user --preserve-credentials";
    say("A shell on the node, in another terminal as the same user:");
    say(`  nsenter --target ${pid}${user} --mount nsenter --net=/run/netns/node`);
    say("Everything stays until Ctrl-C.");
    const { promise, resolve } = Promise.withResolvers<void>();
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.kill("SIGTERM");
    await this.shown("agent stopped");
    await this.lab.close();
  }
}

export function chapter(title: string): void {
  say(`\n=== ${title}`);
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function writeConfig(config: string): Promise<void> {
  say(config.trimEnd());
  await save(CONFIG, config);
}
