import { type ParseFailure, quote } from "./parse-failure.ts";

/** Interfaces by name: the interfaces that a pattern matches or, with `except`, all others. */
export interface InterfaceSelection {
  readonly except: boolean;
  /** Names, and prefixes of names followed by `*`. */
  readonly patterns: readonly string[];
}

/** Whether an interface is selected. */
export function isSelected({ except, patterns }: InterfaceSelection, name: string): boolean {
  return patterns.some(it => covers(it, name)) !== except;
}

/** The selection that entries of the config mean: all negated, or none. */
export function selectionOf(texts: readonly string[]): InterfaceSelection {
  return {
    except: texts.some(it => it.startsWith("!")),
    patterns: [...new Set(texts.map(it => it.replace(/^!/, "")))],
  };
}

/** The selection as in the config. */
export function selectionTexts({ except, patterns }: InterfaceSelection): string[] {
  return patterns.map(it => `${except ? "!" : ""}${it}`);
}

/** Whether `outer` covers all names that `inner` covers. Like CIDRs, two patterns never overlap partly. */
export function covers(outer: string, inner: string): boolean {
  return outer === inner || (outer.endsWith("*") && inner.startsWith(outer.slice(0, -1)));
}

/** The patterns that no other pattern covers, each once. */
export function outermost(patterns: readonly string[]): string[] {
  return [...new Set(patterns)].filter(name => !patterns.some(it => it !== name && covers(it, name)));
}

/** Parses an entry of `outputInterfaces`: an interface name or prefix, or with `!` before it, all others. */
export function parseInterfaceEntry(text: string): string | ParseFailure {
  const parsed = parseInterfaceName(text.replace(/^!/, ""));
  return typeof parsed === "string" ? text : parsed;
}

/**
 * Parses the name of a network interface, or a prefix of names followed by `*`. Names that end in `+` are refused, since
 * iptables takes them for prefixes. Names that start with `!` are refused, because `!` negates an entry.
 *
 * @param remedy the remedy if no other one fits
 */
export function parseInterfaceName(text: string, remedy = NAME_OR_PREFIX): string | ParseFailure {
  const [, own, peer] = /^([^@]+)@(\S+)$/.exec(text) ?? [];
  if (own !== undefined) {
    return {
      what: `${quote(text)} is an interface name with its peer ${quote(`${peer}`)}`,
      remedy: `did you mean ${quote(own)}?`,
    };
  }
  const name = text.endsWith("*") ? text.slice(0, -1) : text;
  if (name === "" && text !== "") {
    return { what: `${quote(text)} matches every interface`, remedy: 'remove "outputInterfaces"' };
  }
  if (name.includes("*")) {
    return { what: `${quote(text)} has a "*" before its end`, remedy };
  }
  if (name.endsWith("+")) {
    return {
      what: `${quote(text)} ends in a "+"`,
      remedy: `did you mean ${quote(`${name.slice(0, -1)}*`)}?`,
    };
  }
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > LONGEST_NAME) {
    return {
      what: `${quote(text)} is too long for the kernel`,
      remedy: `use at most ${LONGEST_NAME} bytes`,
    };
  }
  if (name === "" || name === "." || name === ".." || FORBIDDEN.test(name)) {
    return { what: `${quote(text)} is not an interface name`, remedy };
  }
  return text;
}

const NAME_OR_PREFIX = 'write a name such as "eth0" or a prefix such as "eth*"';

/** Parses the name of one network interface, and refuses prefixes and exclusions. */
export function parseOneInterface(text: string): string | ParseFailure {
  const remedy = 'write the name of one interface, such as "eth0"';
  if (/[*+]$/.test(text)) return { what: `${quote(text)} is a prefix`, remedy };
  if (text.startsWith("!")) return { what: `${quote(text)} excludes an interface`, remedy };
  return parseInterfaceName(text, remedy);
}

/** The kernel's IFNAMSIZ (16) without the final NUL. nft counts the `*` too. */
const LONGEST_NAME = 15;

/**
 * Characters that the kernel's `dev_valid_name` refuses, invisible characters, and characters with a meaning in nft or in
 * the config: the double quote, the backslash, and a leading `@` or `!`.
 */
const FORBIDDEN = /^[@!]|[/:"\\\s\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/u;
