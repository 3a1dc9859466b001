import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Namespace } from "../../../lab/namespace.ts";
import { Kubectl } from "./kubectl.ts";
import { ClusterNode, FILES } from "./node.ts";
import {
  apiServer,
  CONTAINERD,
  controllerManager,
  kubeconfig,
  kubelet,
  kubeletConfig,
  kubeProxy,
  NETWORK,
  NODE,
  type ProxyMode,
  USERS,
  type User,
} from "./programs.ts";

/** The parts of a cluster. */
export interface Ingredients {
  /** Debian's containerd, runc, CNI plugins and etcd. */
  readonly root: string;
  /** The folder with Kubernetes' programs. */
  readonly programs: string;
  /** Image archives, by their names in the cluster. */
  readonly images: readonly string[];
  readonly kubectl: readonly string[];
  readonly proxyMode: ProxyMode;
  /** Minor version of Kubernetes, such as 36. */
  readonly minor: number;
}

/** Memory is in bytes, CPU in seconds. */
interface Usage {
  readonly cpu: number;
  /** Without pages of files that the kernel can drop at once, as kubelet counts it. */
  readonly workingSet: number;
  /** The largest memory, with all pages of files. */
  readonly peak: number;
}

/** A cluster of one node. Its programs write to logs in `log` of the node's files. */
export class OwnCluster implements AsyncDisposable {
  private constructor(
    readonly node: ClusterNode,
    readonly kubectl: Kubectl,
  ) {}

  /** Starts the cluster on a network, and waits until its node is ready. */
  static async create(network: Namespace, from: Ingredients): Promise<OwnCluster> {
    const node = await ClusterNode.boot(network, from.root, from.programs);
    const kubectl = new Kubectl(network.command(from.kubectl), "/run/cluster/files/admin.conf");
    const cluster = new OwnCluster(node, kubectl);
    try {
      await cluster.#start(from);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  async #start({ minor, images, proxyMode }: Ingredients): Promise<void> {
    await this.#writeFiles(minor);
    const { node } = this;
    node.start("etcd", ["etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync"]);
    node.start("containerd", ["containerd", `--config=${FILES}/containerd.toml`]);
    node.start("kube-apiserver", apiServer(minor));
    await this.#until(() => this.kubectl.output(["get", "--raw=/readyz"]), "kube-apiserver");
    node.start("kube-controller-manager", controllerManager(minor));
    const user = (name: User) => `--kubeconfig=${FILES}/${name}.conf`;
    node.start("kube-scheduler", ["kube-scheduler", user("kube-scheduler"), "--leader-elect=false"]);
    await this.#until(() => node.output(["ctr", "version"]), "containerd");
    for (const image of images) await this.load(image);
    node.start("kubelet", kubelet(minor));
    node.start("kube-proxy", kubeProxy(proxyMode, minor));
    await this.#until(
      () => this.kubectl.output(["wait", "--for=condition=Ready", `node/${NODE}`, "--timeout=60s"]),
      "kubelet",
    );
    await this.#until(
      () => this.kubectl.output(["get", "serviceaccount", "default"]),
      "kube-controller-manager",
    );
  }

  /** Imports an image archive, as the node sees it. */
  async load(archive: string): Promise<void> {
    const name = `image-${crypto.randomUUID()}.tar`;
    await this.node.write(name, Bun.file(archive));
    await this.node.output([
      "ctr",
      "--namespace=k8s.io",
      "images",
      "import",
      "--no-unpack=false",
      `${FILES}/${name}`,
    ]);
  }

  async #until(works: () => Promise<unknown>, program: string): Promise<void> {
    let failure: unknown;
    for (let left = 240; left > 0; left--) {
      try {
        await works();
        return;
      } catch (error) {
        failure = error;
        await Bun.sleep(500);
      }
    }
    throw new Error(`${program} does not work: ${failure}\n${await this.tail(program)}`);
  }

  /** The last lines of a program's log. */
  async tail(program: string): Promise<string> {
    return (await readFile(this.node.log(program), "utf8")).split("\n").slice(-30).join("\n");
  }

  /** The PID of the agent on the node; empty if none runs. */
  async agentProcess(): Promise<string> {
    const find = `
      for process in /proc/[0-9]*; do
        [ "$(tr '\\0' ' ' <"$process/cmdline")" != "/usr/bin/ipmasq " ] || echo "\${process#/proc/}"
      done 2>/dev/null`;
    return (await this.node.output(["sh", "-c", find])).trim();
  }

  /** The figures of the agent's container since it started. */
  async usage(): Promise<Usage> {
    const groups = await this.node.output(["cat", `/proc/${await this.agentProcess()}/cgroup`]);
    const read = async (controller: string, file: string) => {
      const path = new RegExp(`:${controller}:(.*)`).exec(groups)?.[1] ?? "";
      return this.node.output(["cat", `/sys/fs/cgroup/${controller}${path}/${file}`]);
    };
    const statistics = await read("memory", "memory.stat");
    const inactive = Number(/^total_inactive_file (\d+)/m.exec(statistics)?.[1]);
    return {
      cpu: Number(await read("cpuacct", "cpuacct.usage")) / 1e9,
      workingSet: Number(await read("memory", "memory.usage_in_bytes")) - inactive,
      peak: Number(await read("memory", "memory.max_usage_in_bytes")),
    };
  }

  async #writeFiles(minor: number): Promise<void> {
    const { publicKey, privateKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: { type: "pkcs1", format: "pem" },
    });
    const tokens = Object.entries(USERS).map(
      ([name, [user, group]]) => `token-${name},${user},${name},"${group}"\n`,
    );
    const files: Record<string, string> = {
      "sa.pub": publicKey,
      "sa.key": privateKey,
      "tokens.csv": tokens.join(""),
      "containerd.toml": CONTAINERD,
      "kubelet.json": JSON.stringify(kubeletConfig(minor)),
    };
    for (const name of Object.keys(USERS)) files[`${name}.conf`] = JSON.stringify(kubeconfig(name));
    for (const [name, text] of Object.entries(files)) await this.node.write(name, text);
    await this.node.write("pods.conflist", JSON.stringify(NETWORK));
    await this.node.output(["cp", `${FILES}/pods.conflist`, "/etc/cni/net.d/"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.node[Symbol.asyncDispose]();
  }
}
