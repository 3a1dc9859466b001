import { expect, test } from "bun:test";
import { ownerOf } from "../../src/conflicts/owners.ts";

test.each<[string[], string, string]>([
  [["FLANNEL-POSTRTG", "POSTROUTING"], "", "flannel"],
  [["POSTROUTING"], "", "unknown"],
  [["docker0", "FLANNEL-POSTRTG"], "", "docker"],
  [["POSTROUTING"], "kubesolo: pod masquerade", "kubesolo"],
  [["FLANNEL-POSTRTG"], "kubesolo: pod masquerade", "kubesolo"],
  [["POSTROUTING"], "kubenet: SNAT for outbound traffic from cluster", "kubelet (kubenet)"],
  [["KUBE-POSTROUTING"], "", "kube-proxy or kubelet"],
  [["KUBE-VIP-EGRESS"], "", "kube-vip"],
  [["pstrt.lxdbr0", "lxd"], "", "incus or LXD"],
])("the owner of a rule by the names %j and the comment %j: %s", (names, comment, owner) => {
  expect(ownerOf(names, comment).owner).toBe(owner);
});
