import type { AddressSet, Element } from "../../nft/table.ts";
import { type CidrList, type Entry, type FamilyPolicy, formatOrigin } from "../../policy/policy.ts";

/** The plain names of the sets. The names in the kernel end with the letter of a generation; see generations.ts. */
export const SETS = {
  nonMasquerade: "non-masquerade",
  masquerade: "masquerade",
  source: "source",
  nonMasqueradeSource: "non-masquerade-source",
} as const;

/** The field of a packet that is looked up in one of our sets. */
export function fieldOf(setName: string): string {
  return [SETS.source, SETS.nonMasqueradeSource].some(name => setName.startsWith(name)) ? "saddr" : "daddr";
}

/** The sets of a policy in one family. Empty ones are left out. */
export function addressSets(family: FamilyPolicy, counting: boolean): AddressSet[] {
  return [
    addressSet(SETS.masquerade, "daddr", family.masquerade, counting),
    addressSet(SETS.nonMasquerade, "daddr", family.nonMasquerade, counting),
    addressSet(SETS.nonMasqueradeSource, "saddr", family.nonMasqueradeSources, counting),
    addressSet(SETS.source, "saddr", family.sources, counting),
  ].filter(set => set.elements.length > 0);
}

function addressSet(name: string, of: string, list: CidrList | undefined, counting: boolean): AddressSet {
  const elements = list?.ascending.map(element) ?? [];
  return { name, of, flags: ["interval"], counting, elements };
}

function element({ cidr, origin }: Entry): Element {
  return { value: cidr, comment: comment(formatOrigin(origin)) };
}

/** The longest comment on a rule or an element, in bytes. nft accepts 128, and the kernel stores a final NUL. */
const COMMENT_BYTES = 127;

/**
 * nft cannot load its own listing of a double quote, and refuses long comments. If a path is too long, its end is
 * kept.
 */
export function comment(text: string): string {
  const printable = text.replace(/[^ !#-~]/g, "?");
  return printable.length <= COMMENT_BYTES ? printable : `...${printable.slice(3 - COMMENT_BYTES)}`;
}
