/** Checks packets under an IPsec policy, on kernels with ESP. */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { BINARY } from "../../../../lab/agent.ts";
import { Lab } from "../../../../lab/lab.ts";
import { save } from "../../../../lab/save.ts";
import { LINKS } from "../../../../lab/topology.ts";
import type { Writer } from "../../../../lab/writers.ts";
import type { Finding } from "./finding.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/guest/ip-masq-agent";

const TUNNELLED = { ip: "203.0.113.7", ip6: "2001:db8:1::7" };
const PLAIN = { ip: "192.0.2.7", ip6: "2001:db8:2::7" };

/** In each family, a tunnel from the node to the outside server carries the Pods' traffic to some networks. */
export async function ipsec(writer: Writer): Promise<Finding> {
  await using lab = await Lab.create();
  await writer.prepare(lab);
  await tunnel(lab, "ip", "10.244.0.0/16", "203.0.113.0/24");
  await tunnel(lab, "ip6", "fd00:10:244::/48", "2001:db8:1::/48");
  const owners = async () => {
    const to = [TUNNELLED.ip, TUNNELLED.ip6, PLAIN.ip, PLAIN.ip6];
    return await Promise.all(to.map(it => lab.ownerSeen({ protocol: "udp", to: it }).catch(() => "nobody")));
  };
  // Control: a rule that ignores policies masquerades the packets, which then miss the tunnel.
  for (const family of ["ip", "ip6"]) {
    const rule = "chain c { type nat hook postrouting priority 100; masquerade; }";
    await lab.node.output(["nft", "-f", "-"], { input: `table ${family} control { ${rule}; }` });
  }
  const control = await owners();
  for (const family of ["ip", "ip6"]) await lab.node.output(["nft", "delete", "table", family, "control"]);
  await Bun.sleep(2000); // until conntrack has forgotten the control's connections
  await mkdir(dirname(CONFIG), { recursive: true });
  await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8]\nmasqueradeCIDRs: [203.0.113.0/24]\n");
  const agent = [BINARY, "run", "--once", `--config=${CONFIG}`, "--enable-ipv6", ...writer.flags];
  await lab.node.output(agent);
  const seen = await owners();
  const state = await lab.outside.output(["ip", "-s", "xfrm", "state"]);
  const decrypted = Array.from(state.matchAll(/(\d+)\(packets\)/g), ([, packets]) => Number(packets));
  const ok =
    seen.join() === "pod,pod,node,node" &&
    control.join() === "node,node,node,node" &&
    decrypted.filter(packets => packets > 0).length === 2;
  return {
    ok,
    cell: ok ? "keep their address; masqueraded without our rule" : `seen ${seen}; control ${control}`,
    raw: { seen, control, decrypted },
  };
}

/** ESP from the node to the outside server, for traffic between two networks. */
async function tunnel(lab: Lab, family: "ip" | "ip6", from: string, to: string): Promise<void> {
  const [src, dst] = [LINKS.outside.near[family], LINKS.outside.far[family]];
  const ends = ["src", src, "dst", dst];
  const key = `0x${"12".repeat(20)}`;
  const state = `proto esp spi 0x100 reqid 1 mode tunnel aead rfc4106(gcm(aes)) ${key} 128`.split(" ");
  const policy = (dir: string) => [
    ...["ip", "xfrm", "policy", "add", "src", from, "dst", to, "dir", dir],
    ...["tmpl", ...ends, "proto", "esp", "reqid", "1", "mode", "tunnel"],
  ];
  for (const place of [lab.node, lab.outside])
    await place.output(["ip", "xfrm", "state", "add", ...ends, ...state]);
  await lab.node.output(policy("out"));
  await lab.outside.output(policy("in"));
}
