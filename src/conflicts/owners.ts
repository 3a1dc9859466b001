import type { NatHook } from "./nat-hook.ts";
import type { Arrival } from "./walk.ts";

/** A program that writes NAT rules: the names and comments of its rules, their effect, and the remedy. */
export interface Owner {
  readonly owner: string;
  /** Matches a table, a chain that leads to the rule, or an output interface of the rule. */
  readonly names?: RegExp;
  /** Matches the comment of the rule. */
  readonly comments?: RegExp;
  /** The effect of the rules, to follow the owner's name in a sentence; undefined for unknown owners. */
  readonly means?: string;
  /** How to exclude destinations, or why to leave the rules as they are. */
  readonly remedy: string;
  /**
   * Whether the rules affect only packets that the same program marked. These rules are not read, because there may be
   * many.
   */
  readonly expected?: true;
}

/** The owner of a rule that no record matches. */
export const UNKNOWN: Owner = {
  owner: "unknown",
  remedy: "find the program that made it, and exclude these destinations there",
};

/**
 * The known owners; the first match counts. Names and comments come from rules that the programs wrote, remedies from
 * their documentation.
 */
export const OWNERS: readonly Owner[] = [
  {
    owner: "kube-proxy or kubelet",
    names: /^(KUBE-(?!VIP)|kube-proxy$)/,
    expected: true,
    means: "masquerades Service traffic that kube-proxy marked",
    remedy: "leave it: Services need it",
  },
  {
    owner: "published ports of containers",
    names: /^(NETAVARK-HOSTPORT|CNI-HOSTPORT|netavark_hostport)/i,
    expected: true,
    means:
      "masquerades connections to a published port (hostPort) that the CNI plugin portmap or netavark marked",
    remedy: "leave it: published ports need it",
  },
  {
    owner: "kubelet (kubenet)",
    comments: /^kubenet: /,
    means: "masquerades traffic that leaves kubelet's --non-masquerade-cidr",
    remedy: "start kubelet with --non-masquerade-cidr=0.0.0.0/0",
  },
  {
    owner: "kubesolo",
    comments: /^kubesolo: /,
    means: "masquerades traffic that leaves the Pod network of its only node",
    remedy:
      "leave it if the cluster has one node; otherwise add RETURN rules for these destinations before it",
  },
  {
    owner: "kube-vip",
    names: /^KUBE-VIP/,
    comments: /(^|=)kube-vip$/,
    means:
      "translates traffic of Pods to the address of their Service if it has the annotation kube-vip.io/egress",
    remedy: "add these destinations to the annotation kube-vip.io/egress-denied-networks",
  },
  {
    owner: "flannel",
    names: /^FLANNEL|^flannel/i,
    means: "masquerades traffic that leaves the Pod network",
    remedy: "start flanneld without --ip-masq (kube-flannel: remove it from its arguments)",
  },
  {
    owner: "calico",
    names: /^(nat-)?cali/i,
    means: "masquerades traffic that leaves an IPPool with natOutgoing",
    remedy: "set natOutgoing: false in the IPPool",
  },
  {
    owner: "cilium",
    names: /^(OLD_)?(CILIUM_|cilium)/i,
    means: "masquerades traffic that leaves its native routing CIDR",
    remedy:
      "set ipv4NativeRoutingCIDR to a CIDR that contains these destinations, or enable-ipv4-masquerade and enable-ipv6-masquerade to false",
  },
  {
    owner: "a CNI plugin with ipMasq",
    names: /^(CNI-|cni_plugins|cni_)/,
    means: "masquerades traffic that leaves the network of the plugin (bridge, ptp and others)",
    remedy: 'set "ipMasq": false in its file in /etc/cni/net.d, and recreate the Pods',
  },
  {
    owner: "kindnet",
    names: /^(KIND-MASQ|kindnet)/i,
    means: "masquerades traffic that leaves the Pod networks of the cluster",
    remedy: "start kindnet with masquerading disabled",
  },
  {
    owner: "Amazon VPC CNI",
    names: /^(AWS-|aws-cni)/,
    comments: /^AWS[ ,]/,
    means: "translates traffic that leaves the VPC",
    remedy:
      "set AWS_VPC_K8S_CNI_EXTERNALSNAT=true in the DaemonSet aws-node, or add these destinations to AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
  },
  {
    owner: "OVN-Kubernetes",
    names: /^(OVN-KUBE|ovn-kube)/,
    means: "translates traffic that passes its gateway",
    remedy:
      "leave it: the gateway needs it; to exclude sources of incoming traffic, use the node's annotation k8s.ovn.org/node-ingress-snat-exclude-subnets",
  },
  {
    owner: "OpenShift SDN",
    names: /^OPENSHIFT-/,
    means: "masquerades traffic that leaves the cluster network",
    remedy: "leave it: OpenShift SDN cannot exclude destinations",
  },
  {
    owner: "kilo",
    names: /^KILO-/,
    comments: /^Kilo: /,
    means: "masquerades traffic that leaves Pods, peers and allowed location IPs",
    remedy: "add these destinations to the flag --service-cidr of kg",
  },
  {
    owner: "tailscale",
    names: /^ts-postrouting$/,
    means: "masquerades traffic that comes from the tailnet",
    remedy: "leave it, or run tailscale set --snat-subnet-routes=false",
  },
  {
    owner: "netbird",
    names: /^(netbird|NETBIRD)/,
    means: "masquerades traffic that arrives through a network route",
    remedy: "leave it, or switch off Masquerade in the network route",
  },
  {
    owner: "docker",
    names: /^(docker|br-[0-9a-f]{12})/i,
    means: "masquerades traffic that leaves its container networks",
    remedy: 'leave it if it affects only docker\'s containers; otherwise set "ip-masq": false in daemon.json',
  },
  {
    owner: "podman (netavark)",
    names: /^(NETAVARK|netavark|nv_[0-9a-f]{8})/,
    means: "masquerades traffic that leaves its container networks",
    remedy:
      "leave it if it affects only podman's containers; otherwise disable masquerading in their network",
  },
  {
    owner: "libvirt",
    names: /^(LIBVIRT|libvirt)/,
    means: "masquerades traffic that leaves a virtual network",
    remedy:
      "leave it if it affects only virtual machines; otherwise use <forward mode='route'/> in the network",
  },
  {
    owner: "incus or LXD",
    names: /^(incus|lxd)$|^pstrt\./,
    comments: /^generated for (Incus|LXD) network/,
    means: "masquerades traffic that leaves a network of instances",
    remedy:
      "leave it if it affects only instances; otherwise set ipv4.nat and ipv6.nat of the network to false (incus network set NETWORK ipv4.nat=false)",
  },
  {
    owner: "systemd-networkd or systemd-nspawn",
    names: /^io\.systemd\.nat$/,
    means: "masquerades traffic that leaves a network with IPMasquerade=",
    remedy: "leave it if it affects only that network; otherwise set IPMasquerade=no in its .network file",
  },
  {
    owner: "NetworkManager",
    names: /^nm-(shared|sh)-/,
    comments: /^nm-shared-/,
    means: "masquerades traffic that leaves a shared connection",
    remedy:
      "leave it if it affects only that network; otherwise set ipv4.method of the connection to manual instead of shared",
  },
  {
    owner: "OpenWrt's fw4",
    names: /^fw4$/,
    comments: /^!fw4: /,
    means: "masquerades traffic that leaves through a zone with masq",
    remedy: "exclude these destinations in the zone: list masq_dest '!CIDR' in /etc/config/firewall",
  },
  {
    owner: "Shorewall",
    names: /^(SHOREWALL|[\w.+-]+_masq$)/,
    means: "translates by the rules of /etc/shorewall/snat",
    remedy: "exclude these destinations in /etc/shorewall/snat: INTERFACE:!CIDR as DEST",
  },
  {
    owner: "firewalld",
    names: /^(firewalld|nat_POST|POST_|POSTROUTING_(ZONES|POLICIES|direct))/,
    means: "masquerades traffic that leaves through a zone with masquerading",
    remedy: "remove masquerading from the zone: firewall-cmd --zone=ZONE --remove-masquerade --permanent",
  },
  {
    owner: "Submariner",
    names: /^(SUBMARINER|SM-GN)/,
    means: "translates traffic that passes between joined clusters",
    remedy: "leave it: the connection between the clusters needs it",
  },
  {
    owner: "another ip-masq-agent",
    names: /^(IP-MASQ|ip-masq-agent$)/i,
    means: "masquerades by its own config",
    remedy: "remove that agent, then start or restart ipmasq, which removes its rules",
  },
];

/**
 * Returns the owner of a rule. A comment counts more than a name.
 *
 * @param names the names of tables, chains and interfaces of the rule, the most specific first
 */
export function ownerOf(names: readonly string[], comment = ""): Owner {
  const byComment = OWNERS.find(({ comments }) => comments?.test(comment));
  if (byComment) return byComment;
  for (const name of names) {
    const owner = OWNERS.find(it => it.names?.test(name));
    if (owner) return owner;
  }
  return UNKNOWN;
}

/** Whether a table or chain of this name belongs to an owner whose rules affect only packets that it marked. */
export function isExpected(name: string): boolean {
  return ownerOf([name]).expected ?? false;
}

/** Returns the owner of a rule by the chains that lead to it, its output interfaces and its comment. */
export function ownerOfRule({ table, tool }: NatHook, { way, rule, conditions }: Arrival): Owner {
  const interfaces = conditions.flatMap(it => (it.on === "out" ? it.names : []));
  const names = [...interfaces, ...way.toReversed(), ...(tool === "nft" ? [table] : [])];
  return ownerOf(names, commentOf(rule.text));
}

/** The comment of a rule as iptables or nft prints it. */
function commentOf(text: string): string | undefined {
  const [, quoted, bare] = /(?<!-m )comment (?:"((?:[^"\\]|\\.)*)"|(\S+))/.exec(text) ?? [];
  return quoted ?? bare;
}
