/**
 * A set is never changed while rules look up addresses in it: on kernels before 6.18 some look-ups would
 * miss. Its successor is built beside it, under the same name with another letter, and then the rules are
 * swapped. In the kernel `non-masquerade` is therefore `non-masquerade-a` or `non-masquerade-b`.
 */
import type { Statement } from "../../nft/json.ts";
import type { Rule, Table } from "../../nft/table.ts";

/** The table with each set under its plain name, without the letter; of two only the one that a rule uses. */
export function withoutLetters(table: Table): Table {
  const used = namesInUse(table);
  const plain = (name: string) => name.replace(/-[a-z]$/, "");
  const alone = (name: string) => table.sets.filter(set => plain(set.name) === plain(name)).length === 1;
  return renamed(table, name => (used.has(name) || alone(name) ? plain(name) : name));
}

/** The table with each set under the name that it has or gets in the kernel. */
export function withLetters(table: Table, letterOf: ReadonlyMap<string, string>): Table {
  return renamed(table, name => `${name}-${letterOf.get(name) ?? "a"}`);
}

/** The sets that rules of this table look addresses up in. */
export function namesInUse(table: Table): ReadonlySet<string> {
  const text = JSON.stringify(table.chains);
  return new Set(table.sets.map(({ name }) => name).filter(name => text.includes(`@${name}"`)));
}

function renamed(table: Table, rename: (name: string) => string): Table {
  return {
    ...table,
    sets: table.sets.map(set => ({ ...set, name: rename(set.name) })),
    chains: table.chains.map(chain => ({
      ...chain,
      rules: chain.rules.map(rule => renamedIn(rule, rename)),
    })),
  };
}

function renamedIn(rule: Rule, rename: (name: string) => string): Rule {
  return { ...rule, expr: rule.expr.map(statement => lookingUp(statement, rename)) };
}

function lookingUp(statement: Statement, rename: (name: string) => string): Statement {
  if (!("match" in statement)) return statement;
  const { right } = statement.match;
  if (typeof right !== "string" || !right.startsWith("@")) return statement;
  return { match: { ...statement.match, right: `@${rename(right.slice(1))}` } };
}
