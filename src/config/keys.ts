import * as v from "valibot";
import { parseResyncInterval, raisedInterval } from "../net/duration.ts";
import { parseInterfaceEntry } from "../net/interface-name.ts";
import { parseMark } from "../net/mark.ts";
import { parsedBy, quote } from "../net/parse-failure.ts";
import { boolean, cidrs, type Key, list, preferring, scalar } from "./key-kinds.ts";
import type { ConfigError, Position } from "./problem.ts";

const INTERFACES = {
  what: "an interface name",
  examples: ["eth0", "eth*", "!docker0"],
  parse: parseInterfaceEntry,
} as const;

const MARKS = {
  what: "a mark and its mask",
  examples: ["0x200/0x200", "0x200"],
  parse: parseMark,
} as const;

const INTERVAL = v.pipe(
  v.string(({ input }) =>
    typeof input === "number" ? `did you mean "${input}s"?` : 'add a unit, for example "60s"',
  ),
  v.examples(["60s", "1h30m"]),
  parsedBy(parseResyncInterval),
);

const POSITIVE = "write a positive whole number without quotes";

/** The keys in the order of the docs: first ip-masq-agent's keys, then our own. */
const TABLE = {
  nonMasqueradeCIDRs: cidrs({
    description:
      "Destinations that keep the source address. With IPv6, list its CIDRs too: the default has only IPv4. An empty list masquerades everything except link-local addresses.",
    default: "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
    meant: { words: /masq|\bs?nat|cidr|subnet|range|net|destination|\bdst|ips?\b/, rank: 2 },
  }),
  masqLinkLocal: boolean({
    description: "Masquerade 169.254.0.0/16.",
    meant: { words: /^(?!.*6).*link ?local/, rank: 0 },
  }),
  masqLinkLocalIPv6: boolean({
    description: "Masquerade fe80::/10.",
    meant: { words: /link ?local/, rank: 0 },
  }),
  resyncInterval: scalar(INTERVAL, {
    description:
      "Interval between full syncs, as a Go duration. Changes are applied at once regardless of it. Less than `1s` counts as `1s`, with a warning.",
    default: "`60s`",
    meant: { words: /interval|period|resync|refresh/, rank: 0 },
    merge: preferring((second, first) => second < first),
    warning(written) {
      const raised = typeof written === "string" ? raisedInterval(written) : undefined;
      return raised && { name: "interval-raised", ...raised };
    },
  }),
  cidrLimit: scalar(v.pipe(v.number(POSITIVE), v.integer(POSITIVE), v.minValue(1, POSITIVE)), {
    description:
      "Maximum number of entries per list of CIDRs or marks, as a guard against mistakes. All lists together can have 100,000.",
    default: "`64`",
    meant: { words: /limit|\bmax/, rank: 0 },
    merge: preferring((second, first) => second > first),
  }),
  masqueradeCIDRs: cidrs({
    description: "Destinations that are masqueraded even inside a non-masquerade CIDR or a link-local range.",
    default: "none",
    meant: { words: /masq|\bs?nat/, rank: 2 },
  }),
  sourceCIDRs: cidrs({
    description: "Masquerade only connections from these sources, for example the Pod CIDRs.",
    default: "any source",
    meant: { words: /source|\bsrc/, rank: 1 },
  }),
  nonMasqueradeSourceCIDRs: cidrs({
    description:
      "Never masquerade connections from these sources; overrides all other keys. Tencent TKE's `nonMasqueradeSrcCIDRs` is an alias.",
    default: "none",
    aliases: ["nonMasqueradeSrcCIDRs"],
    meant: { words: /source|\bsrc/, rank: 1 },
  }),
  outputInterfaces: list(INTERFACES, {
    description:
      'Masquerade only connections that leave through these interfaces. `eth*` matches every name that starts with `eth`. With `!` before every entry, as in `"!docker0"`: through any other interface.',
    default: "any interface",
    meant: {
      words: /interface|iface|device|\bnics?\b/,
      unless: /\b(in|input|ingress|incoming)\b/,
      rank: 0,
    },
  }),
  nonMasqueradeMarks: list(MARKS, {
    description:
      "Never masquerade packets with one of these marks, such as `0x200/0x200`; overrides all other keys. For other programs that decide about marked packets, such as Submariner and egress gateways.",
    default: "none",
    limited: true,
    meant: { words: /mark/, rank: 0 },
  }),
  snatAddresses: cidrs({
    description:
      "Masquerade with the node's own address in the first of these CIDRs that contains one, instead of the address that the kernel chooses. See [Several uplinks](docs/uplinks.md).",
    default: "the kernel chooses",
    meant: { words: /\bsnat ?(ip|address)|(node|egress) ?(ip|address)/, rank: 0 },
  }),
  enforceNonMasquerade: boolean({
    description:
      "Bind kept connections to their source, so that no later rule of flannel, a CNI bridge, Docker or others masquerades them. See [Enforce kept addresses](docs/enforce.md).",
    meant: { words: /enforce/, rank: 0 },
  }),
  foreignMasqueradeMarks: list(MARKS, {
    description:
      "Marks by which other programs masquerade packets; `enforceNonMasquerade` does not bind such packets. The first default is kube-proxy's, bit 14 of `--iptables-masquerade-bit`; the second is that of the CNI plugin portmap.",
    default: "0x4000/0x4000, 0x2000/0x2000",
    limited: true,
    meant: { words: /mark|masq\w* bit/, rank: 0 },
  }),
  dropLeaks: boolean({
    description:
      "Drop packets from `sourceCIDRs` that would leave with their own address although the policy masquerades them. Needs `sourceCIDRs`, and nft with every backend. See [Leaks](docs/leaks.md).",
    meant: { words: /\bleak/, rank: 0 },
  }),
  enableIPv6: boolean({
    description: "Masquerade IPv6 too. The flag `--enable-ipv6` takes precedence.",
    meant: { words: /ipv6|dual ?stack/, unless: /cidr|subnet/, rank: 1 },
  }),
};

type Values = { [K in keyof typeof TABLE]: (typeof TABLE)[K] extends Key<infer V> ? V : never };

export type KeyName = keyof Values;

/**
 * The user's settings, read and checked, from one file or several merged ones. Keys that the user did not write are
 * missing, and the policy decides their meaning.
 */
export type Config = { readonly [K in KeyName]?: Values[K] | undefined };

export const KEYS: { readonly [K in KeyName]: Key<Values[K]> } = TABLE;

export const KEY_NAMES: readonly KeyName[] = Object.keys(TABLE).filter(name => isKeyName(name));

function isKeyName(name: string): name is KeyName {
  return Object.hasOwn(TABLE, name);
}

/** Builds a config key by key. */
export function buildConfig(
  valueFor: <K extends KeyName>(name: K, key: Key<Values[K]>) => Values[K] | undefined,
): Config {
  const config: { [K in KeyName]?: Values[K] | undefined } = {};
  const add = <K extends KeyName>(name: K) => {
    config[name] = valueFor(name, KEYS[name]);
  };
  for (const name of KEY_NAMES) add(name);
  return config;
}

/**
 * The errors of a config whose values are valid one by one, but not together.
 *
 * @param isWritten whether a key is in a file, perhaps with an invalid value
 */
export function combinationErrors(config: Config, isWritten: (key: KeyName) => boolean): ConfigError[] {
  return [...mixedInterfaces(config), ...leaksWithoutSources(config, isWritten)];
}

/** Positive and negated entries together have no obvious meaning. */
function mixedInterfaces({ outputInterfaces: list = [] }: Config): ConfigError[] {
  const [first] = list;
  const other = list.find(({ value }) => isNegated(value) !== (first && isNegated(first.value)));
  if (!first || !other) return [];
  const [excluded, included] = isNegated(first.value) ? [first, other] : [other, first];
  const what = `${quote(included.value)} includes an interface and ${quote(excluded.value)} excludes one`;
  return [error(other.at, "outputInterfaces", what, 'write "!" before all entries, or before none')];
}

function isNegated(entry: string): boolean {
  return entry.startsWith("!");
}

/** Without the sources, the connections of the node itself and of other hosts would count as leaks. */
function leaksWithoutSources(
  { dropLeaks, sourceCIDRs }: Config,
  isWritten: (key: KeyName) => boolean,
): ConfigError[] {
  const isMissing = sourceCIDRs ? sourceCIDRs.length === 0 : !isWritten("sourceCIDRs");
  if (!dropLeaks?.value || !isMissing) return [];
  const remedy = "set sourceCIDRs to the CIDRs of Pods or clients, or remove dropLeaks";
  return [error(dropLeaks.at, "dropLeaks", "needs sourceCIDRs", remedy)];
}

function error(at: Position, key: string, what: string, remedy: string): ConfigError {
  return { severity: "error", at, key, what, remedy };
}
