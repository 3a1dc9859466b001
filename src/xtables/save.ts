import { parseRule, type Rule } from "./rule.ts";

/** The built-in chain of table `nat` for source NAT. */
export const POSTROUTING = "POSTROUTING";

/** The chains of table `nat`, as far as they were read. */
export interface Saved {
  readonly chains: ReadonlyMap<string, readonly Counted[]>;
}

/** A rule with the packets and bytes that it matched. */
export interface Counted {
  readonly rule: Rule;
  readonly packets: number;
  readonly bytes: number;
}

/** Reads one chain of table `nat`; undefined if it does not exist. */
export type ReadChain = (chain: string) => Promise<readonly Counted[] | undefined>;

/** Parses the output of `iptables-save -c`. Ignores other tables than `nat`. */
export function parseSaved(text: string): Saved {
  const chains = new Map<string, Counted[]>();
  let table: string | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    if (table !== "nat") continue;
    const chain = /^:(\S+)/.exec(line)?.[1];
    if (chain !== undefined) chains.set(chain, []);
    const [, packets, bytes, of = "", words = ""] = /^\[(\d+):(\d+)\] -A (\S+) ?(.*)$/.exec(line) ?? [];
    chains.get(of)?.push({ rule: parseRule(words), packets: Number(packets), bytes: Number(bytes) });
  }
  return { chains };
}

/**
 * Parses the output of `iptables -S CHAIN -v`: each rule has `-c PACKETS BYTES` before its target. Inside a comment,
 * these words would be in quotes.
 */
export function parseChain(text: string, chain: string): Counted[] {
  const begin = `-A ${chain} `;
  return text.split("\n").flatMap(line => {
    if (!line.startsWith(begin)) return [];
    const words = parseRule(line.slice(begin.length));
    const at = words.findIndex(
      (word, i) => word === "-c" && [words[i + 1], words[i + 2]].every(it => /^\d+$/.test(it ?? "")),
    );
    if (at < 0) return [];
    const [, packets, bytes] = words.slice(at);
    return { rule: words.toSpliced(at, 3), packets: Number(packets), bytes: Number(bytes) };
  });
}
