/** The result of `work`, or undefined if it takes longer than `milliseconds`. Does not stop the work. Rejects like `work`. */
export async function within<T>(milliseconds: number, work: Promise<T>): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), milliseconds);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Calls a function after the shortest of the requested delays. */
export class EarliestTimer {
  readonly #call: () => void;
  #next: { readonly at: number; readonly timer: Timer } | undefined;

  constructor(call: () => void) {
    this.#call = call;
  }

  /** Calls after this many milliseconds, unless an earlier call is scheduled. */
  schedule(milliseconds: number): void {
    const at = performance.now() + milliseconds;
    if (this.#next && this.#next.at <= at) return;
    this.cancel();
    const timer = setTimeout(() => {
      this.#next = undefined;
      this.#call();
    }, milliseconds);
    this.#next = { at, timer };
  }

  cancel(): void {
    clearTimeout(this.#next?.timer);
    this.#next = undefined;
  }
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise(resolve => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined));
  });
}

/**
 * The delay before the next attempt, which doubles with each failure in a row.
 *
 * @param failures the number of failures in a row, at least 1
 * @param first the delay after the first failure, in the same unit as the result
 * @param most the upper limit, in the same unit
 */
export function retryDelay(failures: number, first: number, most: number): number {
  return Math.min(first * 2 ** (failures - 1), most);
}
