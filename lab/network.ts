import { existsSync } from "node:fs";
import { output } from "./output.ts";
import { NAMESPACES, type NamespaceName, namespaces, routing, sysctls, veths } from "./topology.ts";

/** Builds the namespaces of `topology.ts`. */
export async function buildNetwork(): Promise<void> {
  await batch(namespaces());
  await loadConntrack();
  await Promise.all(NAMESPACES.map(name => writeSysctls(name, sysctls(name))));
  await batch(veths());
  await Promise.all(
    NAMESPACES.flatMap(name => [
      batch(routing(name, "ip"), "-4", "-n", name),
      batch(routing(name, "ip6"), "-6", "-n", name),
    ]),
  );
}

/** Whether at least a part of it exists. */
export function isBuilt(): boolean {
  return present().length > 0;
}

export async function removeNetwork(): Promise<void> {
  await batch(present().map(name => `netns delete ${name}`));
}

/** Runs commands of `ip`; stops at the first that fails. */
export async function batch(lines: readonly string[], ...options: string[]): Promise<void> {
  await output(["ip", ...options, "-batch", "-"], lines.map(line => `${line}\n`).join(""));
}

function present(): NamespaceName[] {
  return NAMESPACES.filter(name => existsSync(`/run/netns/${name}`));
}

/** The sysctls of connection tracking come with its module, which the first rule loads. */
async function loadConntrack(): Promise<void> {
  if (existsSync("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")) return;
  const rule =
    "add table ip lab; add chain ip lab lab; add rule ip lab lab ct state new; delete table ip lab";
  await output(["nft", rule]);
}

/** Writes lines of a value and a file under /proc/sys/net, in a namespace. */
export async function writeSysctls(namespace: string, lines: readonly string[]): Promise<void> {
  const write = 'while read -r value file; do echo "$value" >"/proc/sys/net/$file"; done';
  const argv = ["nsenter", `--net=/run/netns/${namespace}`, "sh", "-ec", write];
  await output(argv, lines.map(line => `${line}\n`).join(""));
}
