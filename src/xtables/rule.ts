import { Cidr, canonicalAddress, withLength } from "../net/cidr.ts";

/** The arguments of a rule after `-A CHAIN`: `["-d", "10.0.0.0/8", "-j", "RETURN"]`. */
export type Rule = readonly string[];

/** The rule as iptables-save prints it and iptables-restore reads it. */
export function ruleText(rule: Rule): string {
  let text = "";
  for (const word of rule) text += text === "" ? quoted(word) : ` ${quoted(word)}`;
  return text;
}

/** Parses the output of `ruleText` or iptables-save. */
export function parseRule(text: string): Rule {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, inQuotes, bare]) => inQuotes?.replace(/\\(.)/g, "$1") ?? bare ?? "",
  );
}

/**
 * The rule in normal form: equivalent rules have equal text, for all variants and versions of iptables. Options have a
 * fixed order, `-m` is left out, single addresses have a prefix length, and probabilities are rounded to the kernel's
 * precision.
 */
export function normalText(rule: Rule): string {
  const parts: string[][] = [];
  let negated = false;
  for (const word of rule) {
    if (word === "!") negated = true;
    else if (/^--?[a-z]/i.test(word)) {
      parts.push([...(negated ? ["!"] : []), LONG[word] ?? word]);
      negated = false;
    } else parts.at(-1)?.push(word);
  }
  return parts
    .filter(([option]) => option !== "-m")
    .map(normalOption)
    .filter(([, value]) => !EVERYTHING.has(value ?? ""))
    .map(ruleText)
    .sort()
    .join(" ");
}

/** The value of an option as iptables-save prints it; undefined if the rule lacks the option. */
export function optionOf(rule: Rule, option: string): string | undefined {
  const at = rule.indexOf(option);
  return at < 0 ? undefined : rule[at + 1];
}

const LONG: Readonly<Record<string, string>> = {
  "--source": "-s",
  "--destination": "-d",
  "--protocol": "-p",
  "--jump": "-j",
  "--goto": "-g",
  "--out-interface": "-o",
};

/** Addresses that match everything. iptables-save leaves them out. */
const EVERYTHING = new Set(["0.0.0.0/0", "::/0"]);

/** The kernel keeps a probability in 31 bits: nine digits. */
const PROBABILITY_DIGITS = 8;

function normalOption([option = "", ...values]: string[]): string[] {
  if (option === "--probability") return [option, Number(values[0]).toFixed(PROBABILITY_DIGITS)];
  if (option === "-s" || option === "-d") return [option, ...values.map(canonical)];
  if (option === "--to-source") return [option, ...values.map(canonicalSource)];
  return [option, ...values];
}

/** ip6tables prints `::1.0.0.0` for `::100:0`. */
function canonical(address: string): string {
  const text = withLength(address);
  const cidr = address.includes(":") ? Cidr.parse(text) : undefined;
  return cidr instanceof Cidr ? cidr.text : text;
}

/** An address that may have ports: `[::1.0.0.0]:1024-2047`. */
function canonicalSource(text: string): string {
  const [, inBrackets = "", ports = ""] = /^\[(.*)\](.*)$/.exec(text) ?? [];
  return inBrackets === "" ? canonicalAddress(text) : `[${canonicalAddress(inBrackets)}]${ports}`;
}

function quoted(word: string): string {
  return /^[\w./:,!+*@%=-]+$/.test(word) ? word : `"${word.replace(/["\\]/g, "\\$&")}"`;
}

/** The chain or the target of a rule. */
export function targetOf(rule: Rule): string | undefined {
  return optionOf(rule, "-j") ?? optionOf(rule, "-g");
}

/** The rule in normal form without its comment. */
export function effectText(rule: Rule): string {
  const at = rule.indexOf("--comment");
  return normalText(at < 0 ? rule : rule.toSpliced(at, 2));
}
