import { covers, type InterfaceSelection, outermost } from "../net/interface-name.ts";

/** The interface names that `name` covers, except those that an entry of `except` covers. */
export interface InterfaceSet {
  /** A name, or a prefix of names that ends in `*`; `*` alone covers every name. */
  readonly name: string;
  /** Names and prefixes that `name` covers. No entry covers another. */
  readonly except: readonly string[];
}

/** The selected interfaces, as disjoint sets; all interfaces without a selection. */
export function interfaceSets(selection: InterfaceSelection | undefined): InterfaceSet[] {
  if (!selection) return [{ name: "*", except: [] }];
  const patterns = outermost(selection.patterns);
  return selection.except ? [{ name: "*", except: patterns }] : patterns.map(name => ({ name, except: [] }));
}

/** The names in `sets` that are not in `others`, as disjoint sets. Both arguments are disjoint sets. */
export function interfacesWithout(
  sets: readonly InterfaceSet[],
  others: readonly InterfaceSet[],
): InterfaceSet[] {
  return others.reduce((left, other) => left.flatMap(it => without(it, other)), [...sets]);
}

/** The names in `set` that are not in `other`: the names outside of its pattern, and those in its exceptions. */
function without(set: InterfaceSet, other: InterfaceSet): InterfaceSet[] {
  const common = intersection(set, other.name);
  if (!common) return [set];
  const excepted = other.except.flatMap(it => intersection(common, it) ?? []);
  if (covers(other.name, set.name)) return excepted;
  return [{ name: set.name, except: outermost([...set.except, other.name]) }, ...excepted];
}

/** The names in the set that a pattern covers; undefined if there are none. */
function intersection({ name, except }: InterfaceSet, pattern: string): InterfaceSet | undefined {
  const inner = covers(pattern, name) ? name : covers(name, pattern) ? pattern : undefined;
  if (inner === undefined || except.some(it => covers(it, inner))) return undefined;
  return { name: inner, except: except.filter(it => covers(inner, it)) };
}

/** Whether an interface's name is in the set. */
export function isInterfaceIn({ name, except }: InterfaceSet, interfaceName: string): boolean {
  return covers(name, interfaceName) && !except.some(it => covers(it, interfaceName));
}

/** Formats the set, as in `eth* except eth0, eth1*`. */
export function formatInterfaceSet({ name, except }: InterfaceSet): string {
  if (except.length === 0) return name;
  return `${name === "*" ? "all" : name} except ${except.join(", ")}`;
}
