import * as v from "valibot";
import { Lab } from "../../../lab/lab.ts";
import { Lines } from "../../../lab/lines.ts";
import { kubernetesRelease } from "../../deploy/kubernetes.ts";
import { ARCHITECTURE, builtImage, IMAGE } from "../release/image.ts";
import { archiveOf, PAUSE_IMAGE, UPSTREAM_IMAGE } from "./images.ts";
import type { Kubectl } from "./kubectl.ts";
import { kubernetes, nodeRoot } from "./kubernetes.ts";
import { OwnCluster } from "./own-cluster.ts";
import { at, PORT, Pods, TRAFFIC } from "./pods.ts";
import { isDual, NODE, PROXY_MODES, type ProxyMode } from "./programs.ts";

/** The cluster under test. */
export interface World extends AsyncDisposable {
  readonly kubectl: Kubectl;
  readonly pods: Pods;
  /** The image of ipmasq. */
  readonly image: string;
  /** Servers outside of the cluster that know the way to Pods: with the defaults, one is kept, the other masqueraded. */
  readonly kept: string;
  readonly outbound: string;
  /** The name of a node. */
  readonly node: string;
  /** Access to the node; undefined for a cluster that exists already. */
  readonly own: Own | undefined;
  /** Whether Services have addresses of both families. */
  readonly isDual: boolean;
  /** The versions of all parts. */
  readonly versions: Readonly<Record<string, string>>;
}

/** A cluster of this test, with its network. */
interface Own {
  readonly lab: Lab;
  readonly cluster: OwnCluster;
  readonly proxyMode: ProxyMode;
  /** Whether the cluster has the image of ip-masq-agent. */
  readonly hasUpstream: boolean;
}

/** Builds a cluster with the network of the lab around its node. */
export async function ownWorld(): Promise<World> {
  const programs = await kubernetes();
  const { root, suite } = await nodeRoot(programs);
  const release = await kubernetesRelease("trixie");
  if ("missing" in release) throw new Error(release.missing);
  const image = builtImage(ARCHITECTURE);
  if (typeof image !== "string") throw new Error(image.missing);
  const upstream = process.env.IP_MASQ_AGENT === undefined ? [] : [archiveOf(UPSTREAM_IMAGE)];
  const proxyMode = v.parse(v.optional(v.picklist(PROXY_MODES), "iptables"), process.env.KUBE_PROXY_MODE);

  const stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.create());
  try {
    for (const place of [lab.inside, lab.outside]) {
      const server = place.spawn([process.execPath, TRAFFIC, "serve", `${PORT}`]);
      await new Lines(server.stdout).until("serving");
    }
    const cluster = stack.use(
      await OwnCluster.create(lab.node, {
        root,
        programs: programs.folder,
        images: [archiveOf(PAUSE_IMAGE), image, ...upstream],
        kubectl: release.kubectl,
        proxyMode,
        minor: programs.minor,
      }),
    );
    const version = async (...argv: string[]) =>
      /\d+(\.\d+)+/.exec(await cluster.node.output([...argv, "--version"]))?.[0] ?? "unknown";
    const versions = {
      Kubernetes: programs.version,
      "kube-proxy's rules": proxyMode,
      containerd: await version("containerd"),
      "the node's Debian": suite,
      "the node's nft": await version("nft"),
    };
    const pods = new Pods(cluster.kubectl, IMAGE);
    const own = { lab, cluster, proxyMode, hasUpstream: upstream.length > 0 };
    return {
      ...{ kubectl: cluster.kubectl, pods, image: IMAGE, own, versions, isDual: isDual(programs.minor) },
      kept: at("10.1.2.3"),
      outbound: at("203.0.113.7"),
      node: NODE,
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}
