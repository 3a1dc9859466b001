import { parseRule, type Rule, ruleText } from "./rule.ts";

/** The built-in chain of table `nat` for source NAT. */
export const POSTROUTING = "POSTROUTING";

/** The chains of table `nat`, as far as they were read. */
export interface Saved {
  readonly chains: ReadonlyMap<string, readonly Counted[]>;
}

/** A rule with the packets and bytes that it matched. */
export interface Counted {
  readonly rule: Rule;
  /** The rule as iptables-save prints it. */
  readonly text: string;
  readonly packets: number;
  readonly bytes: number;
}

/** A rule from the output of iptables. Its text is parsed when the arguments are needed: most texts only get compared. */
export class SavedRule implements Counted {
  #rule: Rule | undefined;

  /** @param rule the arguments, if they are known */
  constructor(
    readonly text: string,
    readonly packets = 0,
    readonly bytes = 0,
    rule?: Rule,
  ) {
    this.#rule = rule;
  }

  get rule(): Rule {
    this.#rule ??= parseRule(this.text);
    return this.#rule;
  }
}

/** Reads one chain of table `nat`; undefined if it does not exist. */
export type ReadChain = (chain: string) => Promise<readonly Counted[] | undefined>;

/** Parses the output of iptables-save, with or without counts. Ignores tables other than `nat`. */
export function parseSaved(text: string): Saved {
  const chains = new Map<string, Counted[]>();
  let table: string | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    if (table !== "nat") continue;
    const chain = line.startsWith(":") ? /^:(\S+)/.exec(line)?.[1] : undefined;
    if (chain !== undefined) chains.set(chain, []);
    const [, packets, bytes, of = "", rule = ""] = SAVED.exec(line) ?? [];
    chains.get(of)?.push(new SavedRule(rule, Number(packets ?? 0), Number(bytes ?? 0)));
  }
  return { chains };
}

const SAVED = /^(?:\[(\d+):(\d+)\] )?-A (\S+) ?(.*)$/;

/**
 * The output of iptables-save without the parts that change by themselves: the time and the counts of built-in chains.
 * Requires output without the counts of rules.
 */
export function steadyText(saved: string): string {
  const rules = saved.indexOf("\n-A ");
  const head = rules < 0 ? saved : saved.slice(0, rules);
  const end = saved.lastIndexOf("\nCOMMIT");
  const steady = head.replace(/^#.*\n?/gm, "").replace(/ \[\d+:\d+\]$/gm, "");
  return rules < 0 || end < rules ? steady : `${steady}${saved.slice(rules, end)}`;
}

/**
 * Parses the output of `iptables -S CHAIN -v`: each rule has `-c PACKETS BYTES` before its target. Inside a comment,
 * these words would be in quotes.
 */
export function parseChain(text: string, chain: string): Counted[] {
  const begin = `-A ${chain} `;
  const rules: Counted[] = [];
  for (const line of text.split("\n")) {
    if (!line.startsWith(begin)) continue;
    const at = line.indexOf(COUNT, begin.length - 1);
    // Almost every rule has these words once, so there is no need to parse it.
    const isOnly = at >= 0 && line.indexOf(COUNT, at + 1) < 0;
    const between = line.indexOf(" ", at + COUNT.length);
    const end = line.indexOf(" ", between + 1);
    const packets = countOf(line.slice(at + COUNT.length, between));
    const bytes = countOf(line.slice(between + 1, end));
    if (isOnly && at >= begin.length && end > between && packets !== undefined && bytes !== undefined) {
      rules.push(new SavedRule(line.slice(begin.length, at) + line.slice(end), packets, bytes));
    } else rules.push(...slowlyParsed(line.slice(begin.length)));
  }
  return rules;
}

const COUNT = " -c ";

function countOf(digits: string): number | undefined {
  if (digits === "0") return 0;
  return /^\d+$/.test(digits) ? Number(digits) : undefined;
}

function slowlyParsed(text: string): Counted[] {
  const words = parseRule(text);
  const at = words.findIndex(
    (word, i) => word === "-c" && [words[i + 1], words[i + 2]].every(it => /^\d+$/.test(it ?? "")),
  );
  if (at < 0) return [];
  const [, packets, bytes] = words.slice(at);
  const rule = words.toSpliced(at, 3);
  return [new SavedRule(ruleText(rule), Number(packets), Number(bytes), rule)];
}
