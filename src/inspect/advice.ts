import { containsCidr, mergeCidr, overlapCidr } from "cidr-tools";
import type { Config, Located } from "../config/config.ts";
import type { Problem } from "../config/problem.ts";
import type { Cidr } from "../net/cidr.ts";
import { formatDuration } from "../net/duration.ts";

/** What an experienced colleague would ask about a config that is right. All of it is a warning. */
export function advice(config: Config): Problem[] {
  return [
    ...everything(config),
    ...withoutPrivate(config),
    ...linkLocal(config),
    ...withoutEffect(config),
    ...shortInterval(config),
  ];
}

/** RFC 1918 and RFC 4193. */
const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/** 5,000 nodes that do so each second are a load of their own; and changes are seen without it. */
const SHORTEST_MS = 10_000;

function everything({ nonMasqueradeCIDRs: list = [] }: Config): Problem[] {
  const all = mergeCidr(texts(list)).filter(it => it === "0.0.0.0/0" || it === "::/0");
  return all.flatMap(whole => {
    const first = list.find(({ value }) => containsCidr(whole, value.text));
    const what = `the list holds all of ${whole}, so none of it is ever masqueraded but masqueradeCIDRs`;
    return first
      ? [warning(first, "nonMasqueradeCIDRs", what, "name what is inside of your network only")]
      : [];
  });
}

/** An empty list says what it means. */
function withoutPrivate({ nonMasqueradeCIDRs: list = [] }: Config): Problem[] {
  const [first] = list;
  if (!first || overlapCidr(texts(list), PRIVATE)) return [];
  const what = "the list holds no private range, so Pods reach one another with the node's address";
  return [
    warning(
      first,
      "nonMasqueradeCIDRs",
      what,
      "add the CIDRs of Pods, Services and nodes, or write [] if that is meant",
    ),
  ];
}

function linkLocal({ nonMasqueradeCIDRs: list = [], masqLinkLocal, masqLinkLocalIPv6 }: Config): Problem[] {
  const always = [
    ...(masqLinkLocal?.value ? [] : ["169.254.0.0/16"]),
    ...(masqLinkLocalIPv6?.value ? [] : ["fe80::/10"]),
  ];
  return list.flatMap(entry => {
    const around = always.find(it => containsCidr(it, entry.value.text));
    if (around === undefined) return [];
    const what = `${entry.value} adds nothing: ${around} is not masqueraded anyway`;
    return [warning(entry, "nonMasqueradeCIDRs", what, "leave it out")];
  });
}

function withoutEffect(config: Config): Problem[] {
  const { nonMasqueradeCIDRs, masqueradeCIDRs = [], masqLinkLocal, masqLinkLocalIPv6 } = config;
  const kept = [
    ...(nonMasqueradeCIDRs ? texts(nonMasqueradeCIDRs) : PRIVATE.slice(0, 3)),
    ...(masqLinkLocal?.value ? [] : ["169.254.0.0/16"]),
    ...(masqLinkLocalIPv6?.value ? [] : ["fe80::/10"]),
  ];
  return masqueradeCIDRs
    .filter(({ value }) => !overlapCidr(value.text, kept))
    .map(entry => {
      const what = `${entry.value} is in no non-masquerade CIDR, so it is masqueraded anyway`;
      return warning(entry, "masqueradeCIDRs", what, "leave it out, or look for a typo");
    });
}

function shortInterval({ resyncInterval: interval }: Config): Problem[] {
  if (!interval || interval.value >= SHORTEST_MS) return [];
  const what = `every ${formatDuration(interval.value)} is often: changes are seen at once without it`;
  return [warning(interval, "resyncInterval", what, `write at least ${formatDuration(SHORTEST_MS)}`)];
}

function warning({ at }: Located<unknown>, key: string, what: string, remedy: string): Problem {
  return { severity: "warning", at, key, what, remedy };
}

function texts(list: readonly Located<Cidr>[]): string[] {
  return list.map(({ value }) => value.text);
}
