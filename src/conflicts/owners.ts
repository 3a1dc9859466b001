/** A program that writes NAT rules, and what it offers to spare a destination. */
export interface Owner {
  readonly owner: string;
  /** Matches a name connected with its rules: its table, a chain on the way, or an interface. */
  readonly named?: RegExp;
  /** The comment of one of its rules. */
  readonly commented?: RegExp;
  /**
   * Whether its rules are part of how a cluster works and catch only what the same program marked for it. They are not
   * read, whatever there are of them.
   */
  readonly expected?: boolean;
  readonly remedy: string;
}

/** The owner of a rule that no record matches. */
export const UNKNOWN: Owner = {
  owner: "unknown",
  remedy: "find out which program made it, and have that program spare these destinations",
};

/**
 * The known owners. Names and comments come from the programs' own rules, remedies from their documentation. The first
 * match counts.
 */
export const OWNERS: readonly Owner[] = [
  {
    owner: "kube-proxy or kubelet",
    named: /^(KUBE-(?!VIP)|kube-proxy$)/,
    expected: true,
    remedy: "leave it: it catches only what kube-proxy marked",
  },
  {
    owner: "published ports of containers",
    named: /^(NETAVARK-HOSTPORT|CNI-HOSTPORT|netavark_hostport)/i,
    expected: true,
    remedy: "leave it: it catches only what was marked for a published port",
  },
  {
    owner: "kubesolo",
    commented: /^kubesolo: /,
    remedy:
      "leave it if the cluster has one node; else add RETURN rules for these destinations in front of it",
  },
  {
    owner: "kube-vip",
    named: /^KUBE-VIP/,
    commented: /(^|=)kube-vip$/,
    remedy:
      "leave it: it gives Pods of a Service with the annotation kube-vip.io/egress the Service's address; add these destinations to kube-vip.io/egress-denied-networks",
  },
  {
    owner: "flannel",
    named: /^FLANNEL|^flannel/i,
    remedy: "start flanneld without --ip-masq (kube-flannel: remove it from its arguments)",
  },
  { owner: "calico", named: /^(nat-)?cali/i, remedy: "set natOutgoing: false in the IPPool" },
  {
    owner: "cilium",
    named: /^(OLD_)?(CILIUM_|cilium)/i,
    remedy:
      "set ipv4NativeRoutingCIDR to the CIDRs that keep their address, or enable-ipv4-masquerade and enable-ipv6-masquerade to false",
  },
  {
    owner: "a CNI plugin with ipMasq",
    named: /^(CNI-|cni_plugins|cni_)/,
    remedy: 'set "ipMasq": false in its file in /etc/cni/net.d, and make the Pods again',
  },
  {
    owner: "kindnet",
    named: /^(KIND-MASQ|kindnet)/i,
    remedy: "start kindnet with its masquerading switched off",
  },
  {
    owner: "Amazon VPC CNI",
    named: /^(AWS-|aws-cni)/,
    commented: /^AWS[ ,]/,
    remedy:
      "set AWS_VPC_K8S_CNI_EXTERNALSNAT=true for the DaemonSet aws-node, or name these destinations in AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
  },
  {
    owner: "OVN-Kubernetes",
    named: /^(OVN-KUBE|ovn-kube)/,
    remedy:
      "leave it: its gateway needs it; the node's annotation k8s.ovn.org/node-ingress-snat-exclude-subnets spares sources of incoming traffic",
  },
  {
    owner: "OpenShift SDN",
    named: /^OPENSHIFT-/,
    remedy: "leave it: OpenShift SDN masquerades all that leaves the cluster, and has no list of exceptions",
  },
  {
    owner: "kilo",
    named: /^KILO-/,
    commented: /^Kilo: /,
    remedy:
      "leave it: it spares Pods, peers and allowed location IPs; give kg a --service-cidr for each other range to exempt",
  },
  {
    owner: "tailscale",
    named: /^ts-postrouting$/,
    remedy:
      "leave it, or tailscale set --snat-subnet-routes=false: it catches only what comes from the tailnet",
  },
  {
    owner: "netbird",
    named: /^(netbird|NETBIRD)/,
    remedy: "leave it, or switch off Masquerade in the network route: it catches only what the route marked",
  },
  {
    owner: "docker",
    named: /^(docker|br-[0-9a-f]{12})/i,
    remedy: 'leave it if only containers of docker are meant; else set "ip-masq": false in daemon.json',
  },
  {
    owner: "podman (netavark)",
    named: /^(NETAVARK|netavark|nv_[0-9a-f]{8})/,
    remedy: "leave it if only containers of podman are meant; else give their network no masquerading",
  },
  {
    owner: "libvirt",
    named: /^(LIBVIRT|libvirt)/,
    remedy: "leave it if only its machines are meant; else use <forward mode='route'/>",
  },
  {
    owner: "incus or LXD",
    named: /^(incus|lxd)$|^pstrt\./,
    commented: /^generated for (Incus|LXD) network/,
    remedy:
      "leave it if only its instances are meant; else set ipv4.nat and ipv6.nat of the network to false (incus network set NETWORK ipv4.nat=false)",
  },
  {
    owner: "systemd-networkd or systemd-nspawn",
    named: /^io\.systemd\.nat$/,
    remedy: "leave it if only that network is meant; else set IPMasquerade=no in its .network file",
  },
  {
    owner: "NetworkManager",
    named: /^nm-(shared|sh)-/,
    commented: /^nm-shared-/,
    remedy:
      "leave it if only that network is meant; else set ipv4.method of the connection to manual instead of shared",
  },
  {
    owner: "OpenWrt's fw4",
    named: /^fw4$/,
    commented: /^!fw4: /,
    remedy: "spare these destinations in the zone: list masq_dest '!CIDR' in /etc/config/firewall",
  },
  {
    owner: "Shorewall",
    named: /^(SHOREWALL|[\w.+-]+_masq$)/,
    remedy: "exclude these destinations in /etc/shorewall/snat: INTERFACE:!CIDR as DEST",
  },
  {
    owner: "firewalld",
    named: /^(firewalld|nat_POST|POST_|POSTROUTING_(ZONES|POLICIES|direct))/,
    remedy: "remove masquerading from the zone: firewall-cmd --zone=ZONE --remove-masquerade --permanent",
  },
  { owner: "Submariner", named: /^(SUBMARINER|SM-GN)/, remedy: "leave it: it is how clusters are joined" },
  {
    owner: "another ip-masq-agent",
    named: /^(IP-MASQ|ip-masq-agent$)/i,
    remedy: "remove that agent, and then its rules",
  },
];

/** The owner of a rule, by names connected with it, the nearest first, and by its comment. */
export function ownerOf(names: readonly string[], comment = ""): Owner {
  const known = OWNERS.find(({ commented }) => commented?.test(comment));
  if (known) return known;
  for (const name of names) {
    const owner = OWNERS.find(({ named }) => named?.test(name));
    if (owner) return owner;
  }
  return UNKNOWN;
}
