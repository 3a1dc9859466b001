import { type ParseFailure, quote } from "./parse-failure.ts";

/**
 * Parses the name of a network interface, or a prefix of names followed by `*`. Names that end in `+` are refused, since
 * iptables takes them for prefixes.
 */
export function parseInterfaceName(text: string): string | ParseFailure {
  if (text.startsWith("!")) {
    return {
      what: `${quote(text)}: negated interfaces are not supported yet`,
      remedy: "list the interfaces to masquerade on",
    };
  }
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
    return { what: `${quote(text)} has a "*" before its end`, remedy: 'write a prefix such as "eth*"' };
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
    return {
      what: `${quote(text)} is not an interface name`,
      remedy: 'write a name such as "eth0" or a prefix such as "eth*"',
    };
  }
  return text;
}

/** The kernel's IFNAMSIZ (16) without the final NUL. nft counts the `*` too. */
const LONGEST_NAME = 15;

/**
 * Characters that the kernel's `dev_valid_name` refuses, invisible characters, and characters with a meaning in nft: the
 * double quote, the backslash, and a leading `@`.
 */
const FORBIDDEN = /^@|[/:"\\\s\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/u;
