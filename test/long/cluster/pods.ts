import { join } from "node:path";
import * as v from "valibot";
import { Lines } from "../../../lab/lines.ts";
import type { Kubectl } from "./kubectl.ts";

/** The namespace of the clients and servers. */
const NAMESPACE = "ipmasq-test";
/** The port of the servers, inside and outside of the cluster. */
export const PORT = 7000;
const NODE_PORT = 30080;

/** The program of clients and servers. */
export const TRAFFIC = join(import.meta.dirname, "traffic.ts");

/** Counts of connections, by server and by the address that it saw. */
const Counts = v.record(v.string(), v.record(v.string(), v.number()));
export type Counts = v.InferOutput<typeof Counts>;

/** Pods that open and accept connections. They run the image of ipmasq as Bun, so the cluster needs no other image. */
export class Pods {
  readonly #kubectl: Kubectl;
  readonly #image: string;

  constructor(kubectl: Kubectl, image: string) {
    this.#kubectl = kubectl;
    this.#image = image;
  }

  /**
   * Makes the namespace with two Pods, `client` and `web`, and a Service `web`; waits until they are ready.
   *
   * @param isDual whether the Service has addresses of both families
   */
  async create(isDual: boolean): Promise<void> {
    const built = await Bun.build({ entrypoints: [TRAFFIC], target: "bun" });
    const [program] = built.outputs;
    if (program === undefined) throw new Error("traffic.ts was not built");
    await this.#kubectl.apply(
      { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } },
      {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name: "traffic", namespace: NAMESPACE },
        data: { "traffic.js": await program.text() },
      },
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web", namespace: NAMESPACE },
        spec: {
          type: "NodePort",
          ...(isDual && { ipFamilyPolicy: "PreferDualStack" }),
          selector: { app: "web" },
          ports: [{ port: 80, targetPort: PORT, nodePort: NODE_PORT }],
        },
      },
    );
    await this.start("client");
    await this.start("web");
  }

  /** Removes the namespace. */
  async remove(): Promise<void> {
    await this.#kubectl.output(["delete", "namespace", NAMESPACE, "--timeout=55s"]);
  }

  /** Starts a Pod with a server, and waits until it is ready. */
  async start(name: string): Promise<void> {
    await this.#kubectl.apply(this.#pod(name));
    await this.#kubectl.output([
      "wait",
      `--namespace=${NAMESPACE}`,
      "--for=condition=Ready",
      `pod/${name}`,
      "--timeout=50s",
    ]);
  }

  #pod(name: string): object {
    const container = {
      name: "traffic",
      image: this.#image,
      imagePullPolicy: "IfNotPresent",
      command: ["/usr/bin/ipmasq", "/traffic/traffic.js", "serve", `${PORT}`],
      env: [{ name: "BUN_BE_BUN", value: "1" }],
      volumeMounts: [{ name: "traffic", mountPath: "/traffic" }],
    };
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: NAMESPACE, labels: { app: name } },
      spec: {
        terminationGracePeriodSeconds: 0,
        automountServiceAccountToken: false,
        containers: [container],
        volumes: [{ name: "traffic", configMap: { name: "traffic" } }],
      },
    };
  }

  /** The addresses of a Pod. */
  async addresses(name: string): Promise<string[]> {
    const Pod = v.object({ status: v.object({ podIPs: v.array(v.object({ ip: v.string() })) }) });
    const { status } = await this.#kubectl.get(Pod, ["pod", name, `--namespace=${NAMESPACE}`]);
    return status.podIPs.map(({ ip }) => ip);
  }

  /** The Service's addresses in the cluster, with its port, and its port on each node. */
  async service(): Promise<{ readonly cluster: readonly string[]; readonly nodePort: number }> {
    const Service = v.object({
      spec: v.object({ clusterIP: v.string(), clusterIPs: v.optional(v.array(v.string())) }),
    });
    const { spec } = await this.#kubectl.get(Service, ["service", "web", `--namespace=${NAMESPACE}`]);
    return { cluster: (spec.clusterIPs ?? [spec.clusterIP]).map(it => at(it, 80)), nodePort: NODE_PORT };
  }

  /** The address of a Pod's connection as the server sees it, or an error. */
  seen(from: string, server: string): Promise<string> {
    return seenBy(server, this.#command(from));
  }

  /**
   * Opens connections from a Pod, spread evenly over servers, until `stop`. Returns when the first are on their way.
   *
   * @param rate connections per second
   */
  load(from: string, rate: number, servers: readonly string[]): Promise<Load> {
    return startLoad(this.#command(from), rate, servers);
  }

  #command(from: string): string[] {
    const traffic = ["/usr/bin/ipmasq", "/traffic/traffic.js"];
    return this.#kubectl.command(["exec", "--stdin", `--namespace=${NAMESPACE}`, from, "--", ...traffic]);
  }
}

/** An address with a port. */
export function at(address: string, port = PORT): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

export interface Load {
  /** Ends it, and counts its connections. */
  stop(): Promise<Counts>;
}

/**
 * The address of a connection as the server sees it, or an error.
 *
 * @param traffic the command that runs traffic.ts
 */
export async function seenBy(server: string, traffic: readonly string[]): Promise<string> {
  const load = await startLoad(traffic, 20, [server]);
  await Bun.sleep(100);
  const [seen] = Object.keys((await load.stop())[server] ?? {});
  return seen ?? "no connection";
}

async function startLoad(
  traffic: readonly string[],
  rate: number,
  servers: readonly string[],
): Promise<Load> {
  const flood = [...traffic, "flood", `${rate}`, "600", ...servers];
  const program = Bun.spawn(flood, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const lines = new Lines(program.stdout);
  await lines.until("started");
  return {
    async stop() {
      program.stdin.end();
      const printed = (await lines.until("{")).at(-1) ?? "";
      return v.parse(Counts, JSON.parse(printed));
    },
  };
}
