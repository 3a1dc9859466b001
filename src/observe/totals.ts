import type { Counter } from "../backends/backend.ts";

type Count = Pick<Counter, "connections" | "bytes">;

/**
 * Counts that never go backwards. In the kernel they begin anew whenever a rule or set is rewritten; so what came
 * to each since it was last read is added up here.
 */
export class Totals {
  /** By family, verdict and CIDR: what the kernel said last, and the sum. */
  #counters = new Map<string, { last: Counter; sum: Count }>();
  readonly #byVerdict = { keep: NONE, masquerade: NONE };

  /** Takes what the kernel counts now. A CIDR that is no longer counted is forgotten, but for its verdict's sum. */
  read(counters: readonly Counter[]): void {
    const known = this.#counters;
    this.#counters = new Map();
    for (const now of counters) {
      const key = `${now.family} ${now.verdict} ${now.cidr ?? ""}`;
      const before = known.get(key);
      const more = since(before?.last ?? NONE, now);
      this.#counters.set(key, { last: now, sum: plus(before?.sum ?? NONE, more) });
      this.#byVerdict[now.verdict] = plus(this.#byVerdict[now.verdict], more);
    }
  }

  /** The sums of what is counted now, in the order in which the kernel has it. */
  get counters(): readonly Counter[] {
    return [...this.#counters.values()].map(({ last, sum }) => ({ ...last, ...sum }));
  }

  get byVerdict(): Readonly<Record<Counter["verdict"], Count>> {
    return this.#byVerdict;
  }
}

const NONE: Count = { connections: 0, bytes: 0 };

/** A count that is smaller than it was has begun anew. */
function since(last: Count, now: Count): Count {
  if (now.connections < last.connections || now.bytes < last.bytes) return now;
  return { connections: now.connections - last.connections, bytes: now.bytes - last.bytes };
}

function plus(a: Count, b: Count): Count {
  return { connections: a.connections + b.connections, bytes: a.bytes + b.bytes };
}
