import { expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { OWNERS, ownerOf } from "../../src/conflicts/owners.ts";

test("each owner stands in the troubleshooting guide, with its remedy", async () => {
  const guide = await readFile("docs/troubleshooting.md", "utf8");
  for (const { owner, remedy } of OWNERS) expect(guide).toContain(`| ${owner} | ${remedy} |`);
});

test("the nearest name counts, and a comment before all names", () => {
  const owner = (names: string[], comment?: string) => ownerOf(names, comment).owner;
  expect(owner(["FLANNEL-POSTRTG", "POSTROUTING"])).toBe("flannel");
  expect(owner(["POSTROUTING"])).toBe("unknown");
  expect(owner(["docker0", "FLANNEL-POSTRTG"])).toBe("docker");
  expect(owner(["POSTROUTING"], "kubesolo: pod masquerade")).toBe("kubesolo");
  expect(owner(["KUBE-POSTROUTING"])).toBe("kube-proxy or kubelet");
  expect(owner(["KUBE-VIP-EGRESS"])).toBe("kube-vip");
  expect(owner(["pstrt.lxdbr0", "lxd"])).toBe("incus or LXD");
});
