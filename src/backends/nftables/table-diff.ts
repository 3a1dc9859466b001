import { Cidr, compareCidrs, type Family } from "../../net/cidr.ts";
import { type AddressSet, byAddress, type Element, type Table } from "../../nft/table.ts";
import { elementText, setText, tableText } from "../../nft/text.ts";
import { changesBetween, type RuleChanges } from "../backend.ts";
import { listOfSet, replacedSets, withoutGenerations } from "./generations.ts";

/** The desired and the actual table of one family. Long sets are compared element by element, without their text. */
export class TableDiff {
  /** Whether the rules are equal. Replaced sets, which have no effect, do not count. */
  readonly inSync: boolean;
  /** As {@link replacedSets}. */
  readonly replaced: readonly AddressSet[];
  readonly #current: Table | undefined;

  constructor(
    readonly desired: Table,
    readonly actual: Table | undefined,
  ) {
    this.replaced = actual ? replacedSets(actual) : [];
    this.#current = actual && withoutGenerations({ ...actual, sets: this.#currentSets(actual) });
    this.inSync = this.#current !== undefined && isSame(desired, this.#current);
  }

  /** Whether the write deletes named counters, whose last counts must be listed first. */
  get dropsCounters(): boolean {
    return (
      this.actual?.counters.some(it => !this.desired.counters.some(({ name }) => name === it.name)) ?? false
    );
  }

  /** The desired rules, one per line. */
  get desiredText(): string[] {
    return tableText(this.desired);
  }

  /** The actual rules, one per line, with sets under their plain names. */
  get actualText(): string[] {
    return this.#current ? tableText(this.#current) : [];
  }

  /** The lines that only the desired table has, and the lines that only the actual table has. */
  get changes(): RuleChanges {
    const actual = this.#current;
    if (!actual) return { added: this.desiredText, removed: [] };
    const { added, removed } = changesBetween(outline(actual), outline(this.desired));
    for (const name of new Set([...this.desired.sets, ...actual.sets].map(set => set.name))) {
      const elements = (table: Table) =>
        table.sets.filter(set => set.name === name).flatMap(set => set.elements);
      const differing = elementChanges(elements(this.desired), elements(actual));
      added.push(...differing.added.map(line));
      removed.push(...differing.removed.map(line));
    }
    return { added, removed };
  }

  /**
   * The sets to compare, one for each desired list. If other programs removed the rules that refer to a list, its set
   * remains: the write uses an equal set again, and otherwise replaces the newest.
   */
  #currentSets({ family, sets }: Table): AddressSet[] {
    const inUse = sets.filter(set => !this.replaced.includes(set));
    const isInUse = (list: AddressSet) => inUse.some(set => isGenerationOf(set, list));
    const remaining = this.desired.sets
      .filter(list => !isInUse(list))
      .map(list => {
        const generations = this.replaced.filter(set => isGenerationOf(set, list));
        return generations.find(set => isSameSet(set, list, family)) ?? newest(generations);
      });
    return sets.filter(set => inUse.includes(set) || remaining.includes(set));
  }
}

function isGenerationOf({ name }: AddressSet, list: AddressSet): boolean {
  return listOfSet(name)?.name === list.name;
}

/** The set with the highest number in the kernel. A set without a number was written after the last listing. */
function newest(sets: readonly AddressSet[]): AddressSet | undefined {
  const number = ({ handle = Number.MAX_SAFE_INTEGER }: AddressSet) => handle;
  return sets.toSorted((one, other) => number(one) - number(other)).at(-1);
}

function line(element: Element): string {
  return `${elementText(element)},`;
}

/** The text of a table without the elements of its sets. */
export function outline(table: Table): string[] {
  return tableText({ ...table, sets: table.sets.map(set => ({ ...set, elements: [] })) });
}

function isSame(desired: Table, actual: Table): boolean {
  if (!Bun.deepEquals(outline(desired), outline(actual))) return false;
  return desired.sets.every((set, i) => hasSameElements(set, actual.sets[i] ?? set));
}

/** Whether two sets are equal except for their names. */
export function isSameSet(one: AddressSet, other: AddressSet, family: Family): boolean {
  const declaration = (set: AddressSet) => setText({ ...set, name: "", elements: [] }, family);
  return hasSameElements(one, other) && Bun.deepEquals(declaration(one), declaration(other));
}

/** Whether two sets have the same elements, in the same order, with the same comments. */
function hasSameElements(one: AddressSet, other: AddressSet): boolean {
  const { elements } = other;
  if (elements === one.elements) return true;
  return (
    one.elements.length === elements.length &&
    one.elements.every((element, i) => {
      const same = elements[i];
      return same !== undefined && isSameElement(element, same);
    })
  );
}

function isSameElement(one: Element, other: Element): boolean {
  return isSameValue(one.value, other.value) && one.comment === other.comment;
}

function isSameValue(one: Element["value"], other: Element["value"]): boolean {
  if (one instanceof Cidr && other instanceof Cidr) return compareCidrs(one, other) === 0;
  return one === other;
}

/** Merges two lists that are sorted by address. */
function elementChanges(
  desired: readonly Element[],
  actual: readonly Element[],
): { readonly added: readonly Element[]; readonly removed: readonly Element[] } {
  const added: Element[] = [];
  const removed: Element[] = [];
  let i = 0;
  let j = 0;
  for (;;) {
    const want = desired[i];
    const have = actual[j];
    if (!want && !have) return { added, removed };
    if (want && have && isSameElement(want, have)) {
      i++;
      j++;
    } else if (want && (!have || byAddress(want, have) < 0)) {
      added.push(want);
      i++;
    } else if (have && (!want || byAddress(have, want) < 0)) {
      removed.push(have);
      j++;
    } else if (want && have) {
      added.push(want);
      removed.push(have);
      i++;
      j++;
    }
  }
}
