import type { Config } from "./config.ts";
import type { ConfigWarning } from "./problem.ts";

/**
 * A warning for each enabled family of which the list has no CIDR but link-local: connections between Pods are then
 * masqueraded. An empty list is taken as intent.
 *
 * @param path of the config
 */
export function familyWarnings(path: string, config: Config, enableIPv6: boolean): ConfigWarning[] {
  const { nonMasqueradeCIDRs: list, sourceCIDRs: sources } = config;
  if (list?.length === 0) return [];
  const warnings: ConfigWarning[] = [];
  for (const { family, ip, name, example } of enableIPv6 ? [IPV4, IPV6] : [IPV4]) {
    if (list ? list.some(({ value }) => value.family === family) : family === "ip") continue;
    if (sources?.length && !sources.some(({ value }) => value.family === family)) continue;
    const at = list?.[0]?.at ?? { file: path };
    const what = `${list ? "the list" : "the default list"} has no ${ip}, so Pod-to-Pod ${ip} is masqueraded`;
    const remedy = list
      ? `add the ${ip} CIDRs of Pods, Services and nodes, as in "${example}"`
      : `set nonMasqueradeCIDRs to the default ranges and "${example}"`;
    warnings.push({ severity: "warning", name, at, key: "nonMasqueradeCIDRs", what, remedy });
  }
  return warnings;
}

const IPV4 = { family: "ip", ip: "IPv4", name: "ipv4-masqueraded", example: "10.0.0.0/8" } as const;
const IPV6 = { family: "ip6", ip: "IPv6", name: "ipv6-masqueraded", example: "fc00::/7" } as const;
