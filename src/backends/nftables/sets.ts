import { type AddressSet, byName, type Element } from "../../nft/table.ts";
import {
  type CidrList,
  type Entry,
  type FamilyPolicy,
  formatOrigin,
  type ListName,
  listsOf,
} from "../../policy/policy.ts";

/** The field of a packet that is looked up in one of our sets. Sets of sources have `source` in their name. */
export function fieldOf(setName: string): string {
  return /\bsource\b/.test(setName) ? "saddr" : "daddr";
}

/** The sets of a policy in one family, by name. Empty sets are left out. */
export function addressSets(family: FamilyPolicy, counting: boolean): AddressSet[] {
  return listsOf(family)
    .map(({ name, list }) => addressSet(name, list, counting))
    .filter(set => set.elements.length > 0)
    .sort(byName);
}

/** @param name its plain name; the name in the kernel ends with the letter of a generation, see generations.ts */
function addressSet(name: ListName, list: CidrList, counting: boolean): AddressSet {
  return { name, of: fieldOf(name), flags: ["interval"], counting, elements: elementsOf(list) };
}

/** The elements of a list, which are made once: each sync needs them, and the actual set shares them. */
function elementsOf(list: CidrList): readonly Element[] {
  const made = ELEMENTS.get(list);
  if (made) return made;
  const elements = list.ascending.map(element);
  ELEMENTS.set(list, elements);
  return elements;
}

const ELEMENTS = new WeakMap<CidrList, readonly Element[]>();

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
