/** The interface names that `name` covers, except those that an entry of `except` covers. */
export interface InterfaceSet {
  /** A name, or a prefix of names that ends in `*`; `*` alone covers every name. */
  readonly name: string;
  /** Names and prefixes that `name` covers. No entry covers another. */
  readonly except: readonly string[];
}

/** Covers every name. */
export const ANY_INTERFACE: readonly string[] = ["*"];

/** Whether `outer` covers all names that `inner` covers. Like CIDRs, two patterns never overlap partly. */
function covers(outer: string, inner: string): boolean {
  return outer === inner || (outer.endsWith("*") && inner.startsWith(outer.slice(0, -1)));
}

/** Removes duplicates and patterns that another pattern covers. */
function outermost(names: readonly string[]): string[] {
  return [...new Set(names)].filter(name => !names.some(it => it !== name && covers(it, name)));
}

/** The names that `names` cover and `others` do not. */
export function interfacesWithout(names: readonly string[], others: readonly string[]): InterfaceSet[] {
  return outermost(names)
    .filter(name => !others.some(it => covers(it, name)))
    .map(name => ({ name, except: outermost(others.filter(it => covers(name, it))) }));
}

/** Whether an interface's name is in the set. */
export function isInterfaceIn({ name, except }: InterfaceSet, interfaceName: string): boolean {
  return covers(name, interfaceName) && !except.some(it => covers(it, interfaceName));
}

/** Formats the set, as in `eth* except eth0, eth1*`. */
export function formatInterfaceSet({ name, except }: InterfaceSet): string {
  return except.length === 0 ? name : `${name} except ${except.join(", ")}`;
}
