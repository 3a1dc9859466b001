/** Neighbours: Debian programs, another ipmasq, and ip-masq-agent. */
import { RunningAgent } from "../../../lab/agent.ts";
import type { Lab } from "../../../lab/lab.ts";
import { type Chroot, debianChroot, type ProgramName } from "../../debian/chroot.ts";
import { Firewalld } from "../../debian/firewalld.ts";
import { upstreamAgentSync } from "../../kernel/upstream-agent.ts";
import type { Start } from "./neighbour.ts";

/**
 * firewalld, which reloads its rules. Because that deletes all programs' iptables rules, the interval is long enough for
 * the agent not to consider its rules contested.
 */
export function firewalld(backend: "nftables" | "iptables"): Start {
  return async lab => {
    const daemon = await Firewalld.start(lab.node, await programOf("firewalld"), backend);
    await daemon.command("--zone=trusted", "--add-source=198.51.100.0/24", "--permanent");
    const reload = () => daemon.command("--reload");
    await reload();
    return { every: 15_000, work: reload, settle: reload, effects: [] };
  };
}

/** The CNI plugins bridge, with ipMasq, and portmap: one Pod stays, others start and stop. */
export const cniPlugins: Start = async lab => {
  const program = await programOf("cni-plugins");
  await Container.create(lab, program, 0);
  return {
    every: 500,
    work: async n => (await Container.create(lab, program, 1 + (n % 200))).delete(),
    settle: async () => {},
    effects: [],
  };
};

/** A Pod of a container runtime with a port of the node. */
export class Container {
  private constructor(
    readonly process: Bun.Subprocess,
    readonly call: (command: "ADD" | "DEL", plugin: "bridge" | "portmap", more: object) => Promise<string>,
    readonly added: object,
  ) {}

  static async create(lab: Lab, program: Chroot, number: number): Promise<Container> {
    const process = lab.node.spawn(["unshare", "--net", "sh", "-c", "echo up; exec sleep 300"]);
    await process.stdout.getReader().read();
    const environment = [
      `CNI_CONTAINERID=c${number}`,
      `CNI_NETNS=/proc/${process.pid}/ns/net`,
      "CNI_IFNAME=eth0",
      "CNI_PATH=/usr/lib/cni",
    ];
    const call = (command: "ADD" | "DEL", plugin: "bridge" | "portmap", more: object) =>
      lab.node.output(
        ["env", `CNI_COMMAND=${command}`, ...environment, ...program.command([`/usr/lib/cni/${plugin}`])],
        { input: JSON.stringify({ ...NETWORK, ...PLUGINS[plugin](number), ...more }) },
      );
    const added = { prevResult: JSON.parse(await call("ADD", "bridge", {})) };
    await call("ADD", "portmap", added);
    return new Container(process, call, added);
  }

  async delete(): Promise<void> {
    await this.call("DEL", "portmap", this.added);
    await this.call("DEL", "bridge", this.added);
    this.process.kill();
    await this.process.exited;
  }
}

const NETWORK = { cniVersion: "0.4.0", name: "theirs" };
const PLUGINS = {
  bridge: (number: number) => ({
    type: "bridge",
    bridge: "theirs0",
    isGateway: true,
    ipMasq: true,
    ipam: {
      type: "host-local",
      routes: [{ dst: "0.0.0.0/0" }],
      ranges: [
        [{ subnet: "10.88.0.0/16", rangeStart: `10.88.1.${number + 1}`, rangeEnd: `10.88.1.${number + 1}` }],
      ],
      dataDir: "/run/cni",
    },
  }),
  portmap: (number: number) => ({
    type: "portmap",
    capabilities: { portMappings: true },
    runtimeConfig: { portMappings: [{ hostPort: 30_000 + number, containerPort: 80, protocol: "tcp" }] },
  }),
};

/** Another ipmasq, started by mistake. */
export function secondAgent(flags: readonly string[]): Start {
  return async lab => {
    const second = RunningAgent.start(lab.node, flags);
    return {
      every: 1000,
      work: async () => {},
      settle: async () => {
        await second.log.until("standing by: another agent is active on this node");
        await second.end();
      },
      effects: [],
    };
  };
}

/** ip-masq-agent, which syncs every second here instead of every minute. */
export function ipMasqAgent(program: string, keep: readonly string[]): Start {
  return async lab => {
    const sync = () => upstreamAgentSync(lab.node, program, keep);
    return { every: 1000, work: sync, settle: sync, effects: [] };
  };
}

/** A control that masquerades kept connections for a moment every second. */
export const masquerader: Start = async lab => {
  const table =
    "table ip theirs { chain c { type nat hook postrouting priority 90; ip daddr 10.1.0.0/16 masquerade; }; }";
  const work = async () => {
    await lab.node.output(["nft", `add ${table}`]);
    await lab.node.output(["nft", "delete table ip theirs"]);
  };
  return { every: 1000, work, settle: work, effects: [] };
};

/** A program of Debian. Throws if it cannot be downloaded. */
export async function programOf(name: ProgramName): Promise<Chroot> {
  const program = await debianChroot(name);
  if ("missing" in program) throw new Error(program.missing);
  return program;
}
