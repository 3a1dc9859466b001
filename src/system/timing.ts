/**
 * The result of `work`, or undefined if it takes longer than that many milliseconds. The work itself goes on.
 * Rejects as `work` does.
 */
export async function within<T>(milliseconds: number, work: Promise<T>): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), milliseconds);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * How long to wait after failures in a row: twice as long after each.
 *
 * @param failures 1 or more
 * @param first after the first failure; `most` bounds it, in the same unit
 */
export function retryDelay(failures: number, first: number, most: number): number {
  return Math.min(first * 2 ** (failures - 1), most);
}
