import { containsCidr, mergeCidr, overlapCidr } from "cidr-tools";
import type { Located } from "../config/key-kinds.ts";
import type { Config } from "../config/keys.ts";
import type { ConfigWarning, WarningName } from "../config/problem.ts";
import { Cidr } from "../net/cidr.ts";
import { formatDuration } from "../net/duration.ts";
import { hasMark } from "../net/mark.ts";
import type { Policy } from "../policy/policy.ts";

/**
 * Returns warnings about a valid config whose effect is probably not intended.
 *
 * @param policy the policy of config and flags
 */
export function lint(config: Config, policy: Policy): ConfigWarning[] {
  return [
    ...everything(config),
    ...withoutPrivate(config),
    ...linkLocal(config),
    ...withoutEffect(config, policy),
    ...shortInterval(config),
    ...marks(config, policy),
  ];
}

/**
 * IPv4 ranges used by Pods: RFC 1918, RFC 6598 (EKS, carriers), RFC 1112's class E and RFC 2544's benchmarks (both on
 * GKE).
 */
const PRIVATE = [
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "100.64.0.0/10",
  "240.0.0.0/4",
  "198.18.0.0/15",
];

/** Shorter intervals add load and no benefit: changes trigger a sync at once. */
const SHORTEST_MS = 10_000;

function everything({ nonMasqueradeCIDRs: list = [] }: Config): ConfigWarning[] {
  const all = mergeCidr(texts(list)).filter(it => it === "0.0.0.0/0" || it === "::/0");
  return all.flatMap(whole => {
    const first = list.find(({ value }) => containsCidr(whole, value.text));
    const what = `the list covers all of ${whole}, so only masqueradeCIDRs are masqueraded`;
    return first
      ? [warning("everything-kept", first, "nonMasqueradeCIDRs", what, "list only CIDRs inside your network")]
      : [];
  });
}

/** An empty list is intended. A list without IPv4 has a separate warning. */
function withoutPrivate({ nonMasqueradeCIDRs: list = [] }: Config): ConfigWarning[] {
  const ipv4 = list.filter(({ value }) => value.family === "ip");
  const [first] = ipv4;
  if (!first || overlapCidr(texts(ipv4), PRIVATE)) return [];
  const what = "the list has no private range, so traffic between Pods gets the node's address";
  return [
    warning(
      "no-private-range",
      first,
      "nonMasqueradeCIDRs",
      what,
      "add the CIDRs of Pods, Services and nodes, or write [] if this is intended",
    ),
  ];
}

function linkLocal({
  nonMasqueradeCIDRs: list = [],
  masqLinkLocal,
  masqLinkLocalIPv6,
}: Config): ConfigWarning[] {
  const always = [
    ...(masqLinkLocal?.value ? [] : ["169.254.0.0/16"]),
    ...(masqLinkLocalIPv6?.value ? [] : ["fe80::/10"]),
  ].map(Cidr.literal);
  return list.flatMap(entry => {
    const around = always.find(it => it.contains(entry.value));
    if (around === undefined) return [];
    const what = `${entry.value} has no effect: ${around} is never masqueraded by default`;
    return [warning("redundant-link-local", entry, "nonMasqueradeCIDRs", what, "remove it")];
  });
}

function withoutEffect({ masqueradeCIDRs = [] }: Config, { families }: Policy): ConfigWarning[] {
  const kept = families.flatMap(it => it.nonMasquerade.effective.map(({ cidr }) => cidr.text));
  return masqueradeCIDRs
    .filter(({ value }) => !overlapCidr(value.text, kept))
    .map(entry => {
      const what = `${entry.value} has no effect: it is not inside a non-masquerade CIDR`;
      return warning(
        "exception-without-effect",
        entry,
        "masqueradeCIDRs",
        what,
        "remove it, or look for a typo",
      );
    });
}

function shortInterval({ resyncInterval: interval }: Config): ConfigWarning[] {
  if (!interval || interval.value >= SHORTEST_MS) return [];
  const what = `${formatDuration(interval.value)} is short: changes are applied at once without it`;
  return [
    warning(
      "frequent-resync",
      interval,
      "resyncInterval",
      what,
      `write at least ${formatDuration(SHORTEST_MS)}`,
    ),
  ];
}

function marks(
  { nonMasqueradeMarks: kept = [], foreignMasqueradeMarks: foreign = [] }: Config,
  policy: Policy,
): ConfigWarning[] {
  const [first] = policy.enforceNonMasquerade ? [] : foreign;
  const idle = "it has no effect without enforceNonMasquerade";
  return [
    ...(first
      ? [
          warning(
            "mark-without-effect",
            first,
            "foreignMasqueradeMarks",
            idle,
            "set enforceNonMasquerade: true, or remove it",
          ),
        ]
      : []),
    ...kept.flatMap(entry => {
      const theirs = policy.foreignMasqueradeMarks.find(it => hasMark(it, entry.value.value));
      if (!theirs) return [];
      const what = `${entry.value.text} contains ${theirs.text}, by which other programs masquerade packets`;
      const remedy = "choose another mark, or change foreignMasqueradeMarks if no program uses it";
      return [warning("mark-without-effect", entry, "nonMasqueradeMarks", what, remedy)];
    }),
  ];
}

function warning(
  name: WarningName,
  { at }: Located<unknown>,
  key: string,
  what: string,
  remedy: string,
): ConfigWarning {
  return { severity: "warning", name, at, key, what, remedy };
}

function texts(list: readonly Located<Cidr>[]): string[] {
  return list.map(({ value }) => value.text);
}
