/** Connections by verdict since the agent started, at a moment. */
interface Sample {
  /** Milliseconds of a monotonic clock. */
  readonly at: number;
  readonly keep: number;
  readonly masquerade: number;
}

/** Connections per second from one moment to the next, both in milliseconds before the newest sample. */
export interface Rate {
  readonly from: number;
  readonly to: number;
  readonly keep: number;
  readonly masquerade: number;
}

/** The counts of the last hour, at most one a minute. It reads nothing: counts are recorded when they are read anyway. */
export class History {
  readonly #samples: Sample[] = [];

  /** @param at milliseconds of a monotonic clock */
  record(at: number, keep: number, masquerade: number): void {
    const samples = this.#samples;
    const [before, last] = samples.slice(-2);
    if (before && last && last.at - before.at < MINUTE) samples.pop();
    samples.push({ at, keep, masquerade });
    while (samples.length > MOST_SAMPLES || (samples[0]?.at ?? at) < at - HOUR) samples.shift();
  }

  /** The rates of the last hour, oldest first. Rates over a few seconds would show meaningless peaks. */
  get rates(): readonly Rate[] {
    const samples = this.#samples;
    const end = samples.at(-1)?.at ?? 0;
    const all = samples.slice(1).flatMap((it, i) => rateBetween(samples[i], it, end));
    return all.length > 1 ? all.filter(({ from, to }) => from - to >= SHORTEST) : all;
  }

  /** The rate of about the last minute; undefined if there are no two samples. */
  get current(): Rate | undefined {
    const last = this.#samples.at(-1);
    const before = this.#samples.findLast(it => last && it.at <= last.at - MINUTE / 2) ?? this.#samples[0];
    return last && before !== last ? rateBetween(before, last, last.at)[0] : undefined;
  }
}

const MINUTE = 60_000;
const SHORTEST = MINUTE / 4;
const HOUR = 60 * MINUTE;
/** One for each minute, the newest, and the one at the beginning. */
const MOST_SAMPLES = 62;

function rateBetween(before: Sample | undefined, now: Sample, end: number): Rate[] {
  if (!before || now.at <= before.at) return [];
  const seconds = (now.at - before.at) / 1000;
  return [
    {
      from: end - before.at,
      to: end - now.at,
      keep: (now.keep - before.keep) / seconds,
      masquerade: (now.masquerade - before.masquerade) / seconds,
    },
  ];
}
