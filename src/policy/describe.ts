import * as v from "valibot";
import { type Cidr, FAMILIES } from "../net/cidr.ts";
import { selectionTexts } from "../net/interface-name.ts";
import { formatPortRanges } from "../net/ports.ts";
import { snatReason } from "./own-addresses.ts";
import type { CidrList, Policy, SnatChoice } from "./policy.ts";

/**
 * The properties of a policy apart from its lists of destinations, as `status --output=json` prints them. Keys are named
 * like the config key or flag, and stay from version to version.
 */
export const PolicySummary = v.object({
  chain: v.string(),
  families: v.array(v.picklist(FAMILIES)),
  sourceCIDRs: v.optional(v.array(v.string())),
  nonMasqueradeSourceCIDRs: v.optional(v.array(v.string())),
  outputInterfaces: v.optional(v.array(v.string())),
  nonMasqueradeMarks: v.optional(v.array(v.string())),
  snatAddresses: v.optional(
    v.array(
      v.object({
        family: v.picklist(FAMILIES),
        address: v.pipe(
          v.optional(v.string()),
          v.description("the node's address that connections get; missing if the kernel chooses"),
        ),
        interface: v.optional(v.string()),
        cidr: v.optional(v.string()),
        reason: v.string(),
      }),
    ),
  ),
  enforceNonMasquerade: v.optional(v.boolean()),
  foreignMasqueradeMarks: v.optional(v.array(v.string())),
  dropLeaks: v.optional(v.boolean()),
  toPorts: v.optional(v.string()),
  randomFully: v.boolean(),
});
export type PolicySummary = v.InferOutput<typeof PolicySummary>;

export function summarizePolicy({
  families,
  chain,
  outputInterfaces,
  nonMasqueradeMarks,
  enforceNonMasquerade,
  foreignMasqueradeMarks,
  dropLeaks,
  toPorts,
  randomFully,
}: Policy): PolicySummary {
  const sources = families.flatMap(it => (it.sources ? cidrsOf(it.sources) : [])).map(String);
  const keptSources = families.flatMap(it => cidrsOf(it.nonMasqueradeSources)).map(String);
  const snat = families.flatMap(it => (it.snat ? [{ family: it.family, ...snatSummary(it.snat) }] : []));
  return {
    chain,
    families: families.map(({ family }) => family),
    ...(families.some(it => it.sources) && { sourceCIDRs: sources }),
    ...(keptSources.length > 0 && { nonMasqueradeSourceCIDRs: keptSources }),
    ...(snat.length > 0 && { snatAddresses: snat }),
    ...(dropLeaks && { dropLeaks }),
    ...(outputInterfaces && { outputInterfaces: selectionTexts(outputInterfaces) }),
    ...(nonMasqueradeMarks.length > 0 && { nonMasqueradeMarks: nonMasqueradeMarks.map(({ text }) => text) }),
    ...(enforceNonMasquerade && {
      enforceNonMasquerade,
      foreignMasqueradeMarks: foreignMasqueradeMarks.map(({ text }) => text),
    }),
    ...(toPorts && { toPorts: formatPortRanges(toPorts) }),
    randomFully,
  };
}

/** One property of a policy in words. Log, `status`, status page and `diff` show the same words. */
export interface PolicyFact {
  readonly name: keyof PolicySummary;
  readonly label: string;
  readonly text: string;
  /**
   * Whether it is shown by itself in a `diff`. The other properties decide which connections are masqueraded, by their
   * addresses and interfaces.
   */
  readonly setting: boolean;
}

/** Describes a policy, apart from its lists of destinations. A policy without restrictions has no lines for them. */
export function describePolicy(policy: PolicySummary): PolicyFact[] {
  const { chain, toPorts, randomFully, sourceCIDRs, nonMasqueradeSourceCIDRs, outputInterfaces } = policy;
  const {
    nonMasqueradeMarks,
    snatAddresses,
    enforceNonMasquerade,
    foreignMasqueradeMarks = [],
    dropLeaks,
  } = policy;
  const all: (Omit<PolicyFact, "text"> & { readonly text: string | undefined })[] = [
    { name: "chain", label: "chain", text: chain, setting: true },
    { name: "toPorts", label: "source ports", text: toPorts ?? "any", setting: true },
    { name: "randomFully", label: "random ports", text: randomFully ? "yes" : "no", setting: true },
    { name: "snatAddresses", label: "SNAT address", text: snatText(snatAddresses), setting: true },
    { name: "dropLeaks", label: "leaks dropped", text: dropLeaks ? "yes" : undefined, setting: true },
    { name: "sourceCIDRs", label: "sources", text: only(sourceCIDRs), setting: false },
    {
      name: "nonMasqueradeSourceCIDRs",
      label: "kept sources",
      text: nonMasqueradeSourceCIDRs && listed(nonMasqueradeSourceCIDRs),
      setting: false,
    },
    { name: "outputInterfaces", label: "interfaces", text: interfacesText(outputInterfaces), setting: false },
    {
      name: "nonMasqueradeMarks",
      label: "kept marks",
      text: nonMasqueradeMarks && listed(nonMasqueradeMarks),
      setting: true,
    },
    {
      name: "enforceNonMasquerade",
      label: "enforced",
      text: enforceNonMasquerade ? enforcedText(foreignMasqueradeMarks) : undefined,
      setting: true,
    },
  ];
  return all.flatMap(({ text, ...fact }) => (text === undefined ? [] : { ...fact, text }));
}

/** Describes a policy for the log, with its lists of destinations. */
export function policyFields(policy: Policy): Record<string, string> {
  const { families } = policy;
  const masquerade = families.flatMap(it => cidrsOf(it.masquerade));
  return {
    ...Object.fromEntries(describePolicy(summarizePolicy(policy)).map(({ name, text }) => [name, text])),
    nonMasqueradeCIDRs: listed(families.flatMap(it => cidrsOf(it.nonMasquerade))),
    ...(masquerade.length > 0 && { masqueradeCIDRs: listed(masquerade) }),
  };
}

function cidrsOf({ effective }: CidrList): Cidr[] {
  return effective.map(({ cidr }) => cidr);
}

function enforcedText(marks: readonly string[]): string {
  return `kept connections${marks.length > 0 ? `, except packets with mark ${marks.join(" or ")}` : ""}`;
}

function only(texts: readonly string[] | undefined): string | undefined {
  return texts && (texts.length > 0 ? `only ${listed(texts)}` : "none");
}

function snatSummary(snat: SnatChoice): Omit<NonNullable<PolicySummary["snatAddresses"]>[number], "family"> {
  const { chosen } = snat;
  return {
    ...(chosen && {
      address: chosen.address.text,
      interface: chosen.interface,
      cidr: chosen.network.cidr.text,
    }),
    reason: snatReason(snat),
  };
}

function snatText(choices: PolicySummary["snatAddresses"]): string | undefined {
  return choices
    ?.map(it =>
      it.address === undefined ? `none: ${it.reason}` : `${it.address} of ${it.interface}, in ${it.cidr}`,
    )
    .join("; ");
}

function interfacesText(texts: readonly string[] | undefined): string | undefined {
  if (!texts?.[0]?.startsWith("!")) return only(texts);
  return `all except ${listed(texts.map(it => it.slice(1)))}`;
}

function listed(values: readonly (Cidr | string)[]): string {
  const more = values.length - MOST_LISTED;
  return [...values.slice(0, MOST_LISTED), ...(more > 0 ? [`and ${more} more`] : [])].join(" ") || "none";
}

const MOST_LISTED = 8;
