/**
 * Rules never look up addresses in a set while it changes: kernels before 6.18 would miss some of them. A changed set
 * is built as a new generation under the same name with another letter, and then the rules refer to it. In the kernel
 * `non-masquerade` is `non-masquerade-a` or `non-masquerade-b`.
 */
import type { Statement } from "../../nft/json.ts";
import type { AddressSet, Rule, Table } from "../../nft/table.ts";
import { LISTS } from "../../policy/policy.ts";

/** Two generations suffice for our own changes. The other letters are for sets that foreign rules refer to. */
export const GENERATIONS = [..."abcdefghijklmnopqrstuvwxyz"];

/** The name of a set without its generation. */
function plainName(set: string): string {
  return set.replace(/-[a-z]$/, "");
}

/** The name of a set in the kernel. */
export function generationName(set: string, generation: string): string {
  return `${set}-${generation}`;
}

/** The table with each set under its plain name. */
export function withoutGenerations(table: Table): Table {
  return renamed(table, plainName);
}

/**
 * Sets of our lists that no rule refers to: another generation replaced them, the policy no longer has the list, or
 * other programs removed the rules. They have no effect, but may have counts.
 */
export function replacedSets(table: Table): AddressSet[] {
  const used = setsInUse(table);
  return table.sets.filter(({ name }) => !used.has(name) && listOfSet(name) !== undefined);
}

/** Whether replaced sets must be listed, which has their counts, and removed before there are more. */
export function hasManyReplaced(table: Table): boolean {
  const replaced = replacedSets(table);
  const elements = replaced.reduce((sum, set) => sum + set.elements.length, 0);
  return replaced.length >= MOST_REPLACED || elements >= MOST_REPLACED_ELEMENTS;
}

const MOST_REPLACED = 8;

/** An element with counter and comment takes 400 bytes of the kernel, which count as memory of the Pod. */
const MOST_REPLACED_ELEMENTS = 40_000;

/** The list of addresses in one of our sets; undefined for other sets. */
export function listOfSet(set: string): (typeof LISTS)[number] | undefined {
  const plain = plainName(set);
  return plain === set ? undefined : LISTS.find(({ name }) => name === plain);
}

/**
 * The table with each set under its name in the kernel.
 *
 * @param generationOf the generations by plain name; other sets have the first generation
 */
export function withGenerations(table: Table, generationOf: ReadonlyMap<string, string>): Table {
  return renamed(table, name => generationName(name, generationOf.get(name) ?? "a"));
}

/** The sets that rules of this table refer to. */
export function setsInUse(table: Table): ReadonlySet<string> {
  const text = JSON.stringify(table.chains);
  return new Set(table.sets.map(({ name }) => name).filter(name => text.includes(`@${name}"`)));
}

function renamed(table: Table, rename: (name: string) => string): Table {
  return {
    ...table,
    sets: table.sets.map(set => ({ ...set, name: rename(set.name) })),
    chains: table.chains.map(chain => ({
      ...chain,
      rules: chain.rules.map(rule => renamedInRule(rule, rename)),
    })),
  };
}

function renamedInRule(rule: Rule, rename: (name: string) => string): Rule {
  return { ...rule, expr: rule.expr.map(statement => renamedInStatement(statement, rename)) };
}

function renamedInStatement(statement: Statement, rename: (name: string) => string): Statement {
  if (!("match" in statement)) return statement;
  const { right } = statement.match;
  if (typeof right !== "string" || !right.startsWith("@")) return statement;
  return { match: { ...statement.match, right: `@${rename(right.slice(1))}` } };
}
