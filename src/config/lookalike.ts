import type { ConfigError } from "./problem.ts";
import type { Text } from "./text.ts";

/** The error for a text without a known key that is a well-known file of another kind. */
export function lookalikeProblem(text: Text): ConfigError | undefined {
  const start = text.content.slice(0, LOOKED_AT);
  const kind = KINDS.find(([, ...marks]) => marks.every(it => it.test(start)))?.[0];
  if (kind === undefined) return undefined;
  return {
    severity: "error",
    at: text.at(0),
    what: `looks like ${kind}, which is not a config`,
    remedy: 'write its CIDRs as a list, as in "nonMasqueradeCIDRs: [10.0.0.0/8]"',
  };
}

/** All marks are near the beginning. */
const LOOKED_AT = 64 * 1024;

const KINDS: readonly (readonly [what: string, ...marks: RegExp[]])[] = [
  ["AWS' list of addresses (ip-ranges.json)", key("(ip_prefix|ipv6_prefix)")],
  ["Google's list of addresses (cloud.json, goog.json)", key("(ipv4Prefix|ipv6Prefix)")],
  ["Azure's list of addresses (ServiceTags)", key("addressPrefixes")],
  ["GitHub's list of addresses (api.github.com/meta)", key("hooks"), key("git")],
  ["Cloudflare's list of addresses", key("(ipv4_cidrs|ipv6_cidrs)")],
  ["Fastly's list of addresses", key("addresses"), key("ipv6_addresses")],
  ["Oracle Cloud's list of addresses", key("regions"), key("cidrs")],
  ["a kubeconfig", key("clusters"), key("contexts")],
  ["a CNI plugin's config", key("cniVersion")],
  ["Docker's daemon.json", key("(registry-mirrors|log-driver|default-address-pools|insecure-registries)")],
  ["a kustomization", key("resources"), key("(namespace|images|patches|components)")],
  ["Helm values", key("image"), key("(tolerations|resources|nodeSelector)")],
  ["a Kubernetes manifest", key("apiVersion")],
];

/** A key of YAML or JSON, at the beginning of a line or after a bracket or comma. */
function key(name: string): RegExp {
  return new RegExp(`(?:^|[{,\\-\\s])["']?${name}["']?[ \\t]*:`, "m");
}
