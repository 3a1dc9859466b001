/** The command lines and config files of the programs of a cluster. */
import { LINKS } from "../../../lab/topology.ts";
import { FILES } from "./node.ts";

/** The ways of kube-proxy to write rules. */
export const PROXY_MODES = ["iptables", "nftables"] as const;
export type ProxyMode = (typeof PROXY_MODES)[number];

export const NODE = "node";
const ADDRESS = LINKS.inside.near;
export const NODE_ADDRESS = ADDRESS.ip;
const SERVER = `https://${ADDRESS.ip}:6443`;
const PODS = { ip: "10.244.0.0/24", ip6: "fd00:10:244::/64" };
const SERVICES = { ip: "10.96.0.0/16", ip6: "fd00:10:96::/112" };

/** The users of the API, with their groups. */
export const USERS = {
  admin: ["admin", "system:masters"],
  kubelet: [`system:node:${NODE}`, "system:nodes"],
  "kube-controller-manager": ["system:kube-controller-manager", ""],
  "kube-scheduler": ["system:kube-scheduler", ""],
  "kube-proxy": ["system:kube-proxy", ""],
} as const;
export type User = keyof typeof USERS;

export function kubeconfig(user: string): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "own", cluster: { server: SERVER, "insecure-skip-tls-verify": true } }],
    users: [{ name: user, user: { token: `token-${user}` } }],
    contexts: [{ name: "own", context: { cluster: "own", user } }],
    "current-context": "own",
  };
}

/** Kubernetes 1.23 and later have both families without a feature gate. */
export function isDual(minor: number): boolean {
  return minor >= 23;
}

function both(of: { readonly ip: string; readonly ip6: string }, minor: number): string {
  return isDual(minor) ? `${of.ip},${of.ip6}` : of.ip;
}

export function apiServer(minor: number): string[] {
  return [
    "kube-apiserver",
    "--etcd-servers=http://127.0.0.1:2379",
    `--bind-address=${ADDRESS.ip}`,
    `--advertise-address=${ADDRESS.ip}`,
    "--cert-dir=/var/lib/kube-apiserver",
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${FILES}/sa.pub`,
    `--service-account-signing-key-file=${FILES}/sa.key`,
    `--token-auth-file=${FILES}/tokens.csv`,
    "--authorization-mode=Node,RBAC",
    `--service-cluster-ip-range=${both(SERVICES, minor)}`,
    "--allow-privileged=true",
    "--kubelet-preferred-address-types=InternalIP",
  ];
}

export function controllerManager(minor: number): string[] {
  return [
    "kube-controller-manager",
    `--kubeconfig=${FILES}/kube-controller-manager.conf`,
    `--service-account-private-key-file=${FILES}/sa.key`,
    "--root-ca-file=/var/lib/kube-apiserver/apiserver.crt",
    "--use-service-account-credentials=true",
    `--cluster-cidr=${both(PODS, minor)}`,
    `--service-cluster-ip-range=${both(SERVICES, minor)}`,
    "--leader-elect=false",
  ];
}

export function kubelet(minor: number): string[] {
  const runtime = minor < 27 ? ["--container-runtime-endpoint=unix:///run/containerd/containerd.sock"] : [];
  const remote = minor < 24 ? ["--container-runtime=remote", "--network-plugin=cni"] : [];
  return [
    "kubelet",
    `--config=${FILES}/kubelet.json`,
    `--kubeconfig=${FILES}/kubelet.conf`,
    `--node-ip=${both(ADDRESS, minor)}`,
    `--hostname-override=${NODE}`,
    ...runtime,
    ...remote,
  ];
}

export function kubeletConfig(minor: number): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: ADDRESS.ip,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
    cgroupDriver: "cgroupfs",
    failSwapOn: false,
    // Sysctls that kubelet would change belong to the whole machine.
    protectKernelDefaults: true,
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
    imageGCHighThresholdPercent: 100,
    ...(minor >= 27 && { containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock" }),
    ...(minor >= 31 && { failCgroupV1: false }),
  };
}

export function kubeProxy(mode: ProxyMode, minor: number): string[] {
  return [
    "kube-proxy",
    `--kubeconfig=${FILES}/kube-proxy.conf`,
    `--proxy-mode=${mode}`,
    `--cluster-cidr=${both(PODS, minor)}`,
    `--hostname-override=${NODE}`,
    // Sysctls that kube-proxy would change belong to the whole machine.
    "--conntrack-max-per-core=0",
    "--conntrack-min=0",
    "--conntrack-tcp-timeout-established=0s",
    "--conntrack-tcp-timeout-close-wait=0s",
  ];
}

/** Without CAP_SYS_RESOURCE, runc cannot lower the score of the OOM killer. */
export const CONTAINERD = `
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
`;

/** A veth pair for each Pod, with routes: no bridge, whose traffic would pass iptables only with a kernel module. */
export const NETWORK = {
  cniVersion: "0.4.0",
  name: "pods",
  plugins: [
    {
      type: "ptp",
      ipMasq: false,
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: PODS.ip }], [{ subnet: PODS.ip6 }]],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};
