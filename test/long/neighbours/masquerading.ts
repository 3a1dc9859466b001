/** Neighbours whose rules masquerade connections that the policy keeps. They come and go all the time. */

import type { Lab } from "../../../lab/lab.ts";
import { foreignChains } from "../../kernel/foreign-chains.ts";
import { iptablesMasqueraders, type Masquerader, TABLES } from "../../kernel/masquerading-rules.ts";
import type { Neighbour, Start } from "./neighbour.ts";
import { Container, programOf } from "./programs.ts";

/** The rules of flannel, the bridge plugin, Docker and kindnet, as far as ipmasq can bind connections before them. */
export function masqueraders(writer: "nftables" | "iptables-nft"): Start {
  return async lab => {
    const all = iptablesMasqueraders("iptables-nft").filter(it => writer === "nftables" || !it.inserts);
    const tables = TABLES.filter(({ priority }) => writer === "nftables" || priority > 100);
    return alternating(lab, [...all, ...tables]);
  };
}

async function alternating(lab: Lab, all: readonly Masquerader[]): Promise<Neighbour> {
  const write = async () => {
    for (const it of all) await it.write(lab);
  };
  const remove = async () => {
    for (const it of all) await it.remove(lab);
  };
  await write();
  return {
    every: 700,
    work: n => (n % 2 === 0 ? remove() : write()),
    settle: async () => {
      await remove().catch(() => {}); // of the last round
      await write();
    },
    effects: [],
  };
}

/** An address of the Pod that is in Docker's usual network. */
const DOCKER_ADDRESS = "172.17.0.9";
const DOCKER_RULE = ["-s", "172.17.0.0/16", "!", "-o", "docker0", "-j", "MASQUERADE"];

/** dockerd, whose rule for its network disappears and is written again by a restart. */
export const docker: Start = async lab => {
  const program = await programOf("docker");
  await lab.addPodAddress(DOCKER_ADDRESS);
  const iptables = (...argv: string[]) => lab.node.run(["iptables-nft", "-w", "5", "-t", "nat", ...argv]);
  let daemon: Bun.Subprocess | undefined;
  const restart = async () => {
    daemon?.kill();
    await daemon?.exited;
    await iptables("-D", "POSTROUTING", ...DOCKER_RULE);
    daemon = lab.node.spawn(program.command(DOCKERD), { stderr: "ignore" });
    while ((await iptables("-C", "POSTROUTING", ...DOCKER_RULE)).exitCode !== 0) await Bun.sleep(50);
    // It writes some rules several times.
    for (let before: string[] = []; ; ) {
      const now = await foreignChains(lab);
      if (Bun.deepEquals(now, before)) return;
      before = now;
      await Bun.sleep(1000);
    }
  };
  await restart();
  return {
    every: 5000,
    work: restart,
    settle: restart,
    effects: [],
    kept: async () => {
      const { source } = await lab.connect({ protocol: "tcp", to: "10.1.2.3", from: DOCKER_ADDRESS });
      return source === DOCKER_ADDRESS;
    },
  };
};

const DOCKERD = [
  "/usr/sbin/dockerd",
  ...["--data-root=/run/data", "--exec-root=/run/exec", "--pidfile=/run/pid", "--host=unix:///run/sock"],
  ...["--storage-driver=vfs", "--log-level=fatal"],
];

/** Pods of the CNI plugin bridge with ipMasq, whose connections to a kept address keep their source. */
export const bridgedPods: Start = async lab => {
  const program = await programOf("cni-plugins");
  const pod = await Container.create(lab, program, 0);
  return {
    every: 500,
    work: async n => (await Container.create(lab, program, 1 + (n % 200))).delete(),
    settle: async () => {},
    effects: [],
    kept: async () => {
      const network = `--net=/proc/${pod.process.pid}/ns/net`;
      await lab.node.run(["nsenter", network, "bash", "-c", "echo x >/dev/udp/10.1.2.3/9"]);
      const answers = "dst=10.88.1.1 sport=9 ";
      return (await lab.node.output(["conntrack", "-L", "-p", "udp", "--dport", "9"])).includes(answers);
    },
  };
};
