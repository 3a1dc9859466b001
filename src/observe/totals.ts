import type { Counter, Plan, Tally } from "../backends/backend.ts";
import { type CountOf, keyOf as countKey } from "../inspect/status.ts";
import type { Verdict } from "../net/verdict.ts";
import type { Policy } from "../policy/policy.ts";

type Count = Pick<Counter, "connections" | "bytes">;

/**
 * Counts that never go backwards and count nothing twice, although the kernel's counters restart with each write and
 * with foreign changes of our rules.
 *
 * Our writes are known exactly: a replaced counter is read once more after the write, or keeps its value, and the values
 * of new counters are known. Foreign changes are not known: if a count fell, or an unknown kernel object counts, the
 * counter was restarted or restored from a copy. Its value then counts as zero, and only later increases are added.
 * Counts between the last reading and that change are lost.
 */
export class Totals implements Tally {
  /** The last readings, by writer and family. */
  readonly #last = new Map<string, Readings>();
  /** The sums since the first reading, by counter. */
  readonly #sums = new Map<Key, Counter>();
  readonly #byVerdict = { keep: NONE, masquerade: NONE, drop: NONE };
  /** The counters of the policy, and the counters written since; undefined before the first policy. */
  #current: Set<Key> | undefined;

  /** Adds the counts since the last reading. The first reading of a writer counts since its rules were created. */
  read({ writer, counters }: Pick<Plan, "writer" | "counters">): void {
    const now = new Map<string, Readings>();
    for (const counter of counters) {
      const place = placeOf(writer, counter);
      const key = keyOf(counter);
      const last = this.#last.get(place);
      const before = last ? lastOf(last, counter.identity, key) : NONE;
      this.#add(key, counter, since(before ?? counter, counter));
      record(now, place, key, counter);
    }
    for (const [place, readings] of now) this.#last.set(place, readings);
  }

  wrote({ writer }: Pick<Plan, "writer">, counters: readonly Counter[]): void {
    for (const counter of counters) {
      const key = keyOf(counter);
      record(this.#last, placeOf(writer, counter), key, counter);
      this.#current?.add(key);
    }
  }

  ended({ writer }: Pick<Plan, "writer">, counters: readonly Counter[]): void {
    for (const counter of counters) {
      const key = keyOf(counter);
      const last = this.#last.get(placeOf(writer, counter));
      this.#add(key, counter, since((last && lastOf(last, counter.identity, key)) ?? counter, counter));
    }
    for (const counter of counters) this.#last.get(placeOf(writer, counter))?.delete(counter.identity);
  }

  /** Forgets CIDRs outside the policy. The counts of these CIDRs stay in the sums by verdict. */
  keep(policy: Policy): void {
    this.#current = new Set(policy.families.flatMap(keysOf));
    for (const key of [...this.#sums.keys()]) if (!this.#current.has(key)) this.#sums.delete(key);
    const families = policy.families.map(({ family }) => `, ${family}`);
    for (const [place, readings] of this.#last)
      if (!families.some(it => place.endsWith(it))) readings.clear();
  }

  /** The sums of each counter. */
  get counters(): readonly Counter[] {
    return [...this.#sums.values()];
  }

  /** The sum of a counter; undefined if there was no such counter. */
  readonly of: CountOf = (family, verdict, cidr) => this.#sums.get(countKey(family, verdict, cidr));

  get byVerdict(): Readonly<Record<Counter["verdict"], Count>> {
    return this.#byVerdict;
  }

  #add(key: Key, { family, verdict, cidr }: Counter, more: Count): void {
    const sum = this.#sums.get(key);
    if (sum && more === NONE) return;
    // The last counts of a CIDR that left the policy are read after it left.
    if (!this.#current || this.#current.has(key))
      this.#sums.set(key, { family, verdict, cidr, ...plus(sum ?? NONE, more) });
    this.#byVerdict[verdict] = plus(this.#byVerdict[verdict], more);
  }
}

const NONE: Count = { connections: 0, bytes: 0 };

function placeOf(writer: string, { family }: Counter): string {
  return `${writer}, ${family}`;
}

type Key = ReturnType<typeof countKey>;

function keyOf({ family, verdict, cidr }: Pick<Counter, "family" | "verdict" | "cidr">): Key {
  return countKey(family, verdict, cidr);
}

function keysOf({ family, masquerade, nonMasquerade }: Policy["families"][number]): Key[] {
  const keys = (verdict: Verdict, list: typeof masquerade) =>
    [undefined, ...list.effective.map(({ cidr }) => cidr)].map(cidr => keyOf({ family, verdict, cidr }));
  const drop = keyOf({ family, verdict: "drop", cidr: undefined });
  return [...keys("masquerade", masquerade), ...keys("keep", nonMasquerade), drop];
}

/** Readings by kernel object, then by counter. Objects without an identity have one entry. */
type Readings = Map<string | undefined, Map<Key, Count>>;

/** The last reading of an object. An object that was not read yet may have been written since. */
function lastOf(readings: Readings, identity: string | undefined, key: Key): Count | undefined {
  return readings.get(identity)?.get(key) ?? readings.get(undefined)?.get(key);
}

function record(
  all: Map<string, Readings>,
  place: string,
  key: Key,
  { identity, connections, bytes }: Counter,
): void {
  const readings: Readings = all.get(place) ?? new Map();
  all.set(place, readings);
  const counts = readings.get(identity) ?? new Map<Key, Count>();
  readings.set(identity, counts);
  counts.set(key, connections === 0 && bytes === 0 ? NONE : { connections, bytes });
}

function since(before: Count, now: Count): Count {
  const isEqual = now.connections === before.connections && now.bytes === before.bytes;
  if (isEqual || now.connections < before.connections || now.bytes < before.bytes) return NONE;
  return { connections: now.connections - before.connections, bytes: now.bytes - before.bytes };
}

function plus(a: Count, b: Count): Count {
  return { connections: a.connections + b.connections, bytes: a.bytes + b.bytes };
}
