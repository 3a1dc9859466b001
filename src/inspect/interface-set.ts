/** Names of interfaces: those that `name` covers, without those that an entry of `but` covers. */
export interface InterfaceSet {
  /** A name, or the beginning of names with `*` behind it; `*` alone is every name. */
  readonly name: string;
  /** Names and beginnings inside of `name`, none inside of another. */
  readonly but: readonly string[];
}

/** Every name. */
export const ANY_INTERFACE: readonly string[] = ["*"];

/** Whether all that `inner` stands for is in `outer`: two names or beginnings lie in each other or apart, as CIDRs do. */
function covers(outer: string, inner: string): boolean {
  return outer === inner || (outer.endsWith("*") && inner.startsWith(outer.slice(0, -1)));
}

/** Those of the names and beginnings that lie in no other, each once. */
function outermost(names: readonly string[]): string[] {
  return [...new Set(names)].filter(name => !names.some(it => it !== name && covers(it, name)));
}

/** What `names` stand for and `others` do not. */
export function interfacesWithout(names: readonly string[], others: readonly string[]): InterfaceSet[] {
  return outermost(names)
    .filter(name => !others.some(it => covers(it, name)))
    .map(name => ({ name, but: outermost(others.filter(it => covers(name, it))) }));
}

/** Whether an interface's name is in the set. */
export function isInterfaceIn({ name, but }: InterfaceSet, interfaceName: string): boolean {
  return covers(name, interfaceName) && !but.some(it => covers(it, interfaceName));
}

/** As in `eth* but eth0, eth1*`. */
export function formatInterfaceSet({ name, but }: InterfaceSet): string {
  return but.length === 0 ? name : `${name} but ${but.join(", ")}`;
}
