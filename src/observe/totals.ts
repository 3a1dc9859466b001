import type { Counter, Plan, Tally } from "../backends/backend.ts";
import { type CountOf, keyOf as countKey } from "../inspect/status.ts";
import type { Verdict } from "../net/verdict.ts";
import type { Policy } from "../policy/policy.ts";

type Count = Pick<Counter, "connections" | "bytes">;

type Reading = Count & Pick<Counter, "identity">;

/**
 * Counts that never go backwards and count nothing twice, although the kernel's counters restart with each write and
 * with foreign changes of our rules.
 *
 * Our own writes are known exactly: the reading before, the values the counters then start from, and the next reading.
 * Foreign changes are not: if a count fell, or another kernel object counts, the counter may have restarted or been
 * restored from a copy, so the value only becomes the new start. Counts between the last reading and a write are lost.
 */
export class Totals implements Tally {
  /** What was last read, by writer and family, and then by counter. */
  readonly #last = new Map<string, Map<string, Reading>>();
  /** By counter, since the first reading. */
  readonly #sums = new Map<string, Counter>();
  readonly #byVerdict = { keep: NONE, masquerade: NONE };

  /** Adds what was counted since the last reading; at the first reading of a writer, since its rules were made. */
  read({ writer, counters }: Pick<Plan, "writer" | "counters">): void {
    const known = new Set(this.#last.keys());
    for (const counter of counters) {
      const last = this.#lastOf(writer, counter);
      const key = keyOf(counter);
      const before = last.get(key) ?? (known.has(placeOf(writer, counter)) ? counter : NONE);
      last.set(key, counter);
      this.#add(key, counter, since(before, counter));
    }
  }

  wrote({ writer }: Pick<Plan, "writer">, counters: readonly Counter[]): void {
    for (const counter of counters) this.#lastOf(writer, counter).set(keyOf(counter), counter);
  }

  /** Forgets CIDRs that the policy does not have, but for the sum of their verdict. */
  keep(policy: Policy): void {
    const wanted = new Set(policy.families.flatMap(keysOf));
    for (const counts of [this.#sums, ...this.#last.values()])
      for (const key of [...counts.keys()]) if (!wanted.has(key)) counts.delete(key);
  }

  /** The sums of each counter. */
  get counters(): readonly Counter[] {
    return [...this.#sums.values()];
  }

  /** The sum of a counter; undefined if there is none. */
  readonly of: CountOf = (family, verdict, cidr) => this.#sums.get(countKey(family, verdict, cidr));

  get byVerdict(): Readonly<Record<Verdict, Count>> {
    return this.#byVerdict;
  }

  #lastOf(writer: string, counter: Counter): Map<string, Reading> {
    const place = placeOf(writer, counter);
    const known = this.#last.get(place) ?? new Map<string, Reading>();
    this.#last.set(place, known);
    return known;
  }

  #add(key: string, { family, verdict, cidr }: Counter, more: Count): void {
    this.#sums.set(key, { family, verdict, cidr, ...plus(this.#sums.get(key) ?? NONE, more) });
    this.#byVerdict[verdict] = plus(this.#byVerdict[verdict], more);
  }
}

const NONE: Count = { connections: 0, bytes: 0 };

function placeOf(writer: string, { family }: Counter): string {
  return `${writer}, ${family}`;
}

function keyOf({ family, verdict, cidr }: Pick<Counter, "family" | "verdict" | "cidr">): string {
  return countKey(family, verdict, cidr?.text);
}

function keysOf({ family, masquerade, nonMasquerade }: Policy["families"][number]): string[] {
  const keys = (verdict: Verdict, list: typeof masquerade) =>
    [undefined, ...list.effective.map(({ cidr }) => cidr)].map(cidr => keyOf({ family, verdict, cidr }));
  return [...keys("masquerade", masquerade), ...keys("keep", nonMasquerade)];
}

function since(before: Reading, now: Reading): Count {
  const isKnown = before.identity !== undefined && now.identity !== undefined;
  if (isKnown && before.identity !== now.identity) return NONE;
  if (now.connections < before.connections || now.bytes < before.bytes) return NONE;
  return { connections: now.connections - before.connections, bytes: now.bytes - before.bytes };
}

function plus(a: Count, b: Count): Count {
  return { connections: a.connections + b.connections, bytes: a.bytes + b.bytes };
}
