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
 * Own writes are known exactly: the agent reads the counters before a write and knows their values after it. Foreign
 * changes are not known: if a count fell, or another kernel object counts, the counter was restarted or restored from
 * a copy. Its value then counts as zero, and only later increases are added. Counts between the last reading and any
 * change are lost.
 */
export class Totals implements Tally {
  /** The last reading, by writer and family, then by counter. */
  readonly #last = new Map<string, Map<string, Reading>>();
  /** The sums since the first reading, by counter. */
  readonly #sums = new Map<string, Counter>();
  readonly #byVerdict = { keep: NONE, masquerade: NONE };

  /** Adds the counts since the last reading. The first reading of a writer counts since its rules were created. */
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

  /** Forgets CIDRs outside the policy. The counts of these CIDRs stay in the sums by verdict. */
  keep(policy: Policy): void {
    const kept = new Set(policy.families.flatMap(keysOf));
    for (const counts of [this.#sums, ...this.#last.values()])
      for (const key of [...counts.keys()]) if (!kept.has(key)) counts.delete(key);
  }

  /** The sums of each counter. */
  get counters(): readonly Counter[] {
    return [...this.#sums.values()];
  }

  /** The sum of a counter; undefined if there was no such counter. */
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
