/**
 * How long to wait after failures in a row: twice as long after each.
 *
 * @param failures 1 or more
 * @param first after the first failure; `most` bounds it, in the same unit
 */
export function backOff(failures: number, first: number, most: number): number {
  return Math.min(first * 2 ** (failures - 1), most);
}
