import { existsSync } from "node:fs";
import { output } from "./output.ts";
import { NAMESPACES, type NamespaceName, namespaces, routing, sysctls, veths } from "./topology.ts";

/** Makes the namespaces of `topology.ts` with all that is in them. */
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

/** Whether there is any of it. */
export function isBuilt(): boolean {
  return present().length > 0;
}

/** Removes what there is of it. */
export async function removeNetwork(): Promise<void> {
  await batch(present().map(name => `netns delete ${name}`));
}

/** Runs lines of `ip`, which stops at the first one that fails. */
export async function batch(lines: readonly string[], ...options: string[]): Promise<void> {
  await output(["ip", ...options, "-batch", "-"], lines.map(line => `${line}\n`).join(""));
}

function present(): NamespaceName[] {
  return NAMESPACES.filter(name => existsSync(`/run/netns/${name}`));
}

/** The sysctls of connection tracking are not there before its module is, which the first rule for it loads. */
async function loadConntrack(): Promise<void> {
  if (existsSync("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")) return;
  const rule =
    "add table ip lab; add chain ip lab lab; add rule ip lab lab ct state new; delete table ip lab";
  await output(["nft", rule]);
}

/** Writes lines of a value and a file under /proc/sys/net, in a namespace. */
export async function writeSysctls(namespace: string, lines: readonly string[]): Promise<void> {
  const write = 'while read -r value file; do echo "$value" >"/proc/sys/net/$file"; done';
  await output(
    ["nsenter", `--net=/run/netns/${namespace}`, "sh", "-ec", write],
    lines.map(line => `${line}\n`).join(""),
  );
}
