import * as v from "valibot";
import { kubernetesRelease } from "../../deploy/kubernetes.ts";
import { Kubectl } from "./kubectl.ts";
import { at, Pods } from "./pods.ts";
import { isDual } from "./programs.ts";
import type { World } from "./world.ts";

const Variables = v.object({
  KUBECONFIG: v.string(),
  IPMASQ_IMAGE: v.pipe(v.string(), v.regex(/.:[^/:]+$/)),
  IPMASQ_SERVERS: v.pipe(v.string(), v.regex(/^[^,]+,[^,]+$/)),
});
const NEEDED =
  "an existing cluster needs KUBECONFIG, IPMASQ_IMAGE=NAME:TAG and IPMASQ_SERVERS=KEPT,MASQUERADED";

const Nodes = v.object({
  items: v.array(
    v.object({
      metadata: v.object({ name: v.string() }),
      status: v.object({ nodeInfo: v.record(v.string(), v.union([v.string(), v.looseObject({})])) }),
    }),
  ),
});

/**
 * The cluster of KUBECONFIG.
 *
 * @throws Error if it has an agent already, or a variable is missing
 */
export async function existingWorld(): Promise<World> {
  const { success, output: given } = v.safeParse(Variables, process.env);
  if (!success) throw new Error(NEEDED);
  const { KUBECONFIG, IPMASQ_IMAGE, IPMASQ_SERVERS } = given;
  const release = await kubernetesRelease("trixie");
  if ("missing" in release) throw new Error(release.missing);
  const kubectl = new Kubectl(release.kubectl, KUBECONFIG);
  const agents = await kubectl.output([
    "get",
    "daemonset",
    "ip-masq-agent",
    "-n=kube-system",
    "--ignore-not-found",
  ]);
  if (agents !== "") throw new Error(`this cluster has an agent, which the tests would remove:\n${agents}`);
  const { items } = await kubectl.get(Nodes, ["nodes"]);
  const [first] = items;
  if (first === undefined) throw new Error("this cluster has no node");
  const info = (key: string) => `${first.status.nodeInfo[key]}`;
  const version = info("kubeletVersion").replace("v", "");
  const pods = new Pods(kubectl, IPMASQ_IMAGE);
  const [kept = "", outbound = ""] = IPMASQ_SERVERS.split(",").map(it => at(it));
  return {
    ...{ kubectl, pods, image: IPMASQ_IMAGE, own: undefined, kept, outbound, node: first.metadata.name },
    isDual: isDual(Number(version.split(".")[1])),
    versions: {
      Kubernetes: version,
      "kube-proxy's rules": "unknown",
      containerd: info("containerRuntimeVersion"),
      "the node's Debian": info("osImage"),
    },
    [Symbol.asyncDispose]: () => pods.remove(),
  };
}
