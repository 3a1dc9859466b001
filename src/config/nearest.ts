/**
 * The known word that a misspelt one was probably meant to be, capitals apart; undefined when none is near. Near is one
 * slip in three letters, and at least one: a letter too many, too few, wrong, or two swapped.
 *
 * @param mostSlips the most slips, for words of any length
 */
export function nearest(
  word: string,
  known: readonly string[],
  mostSlips = Number.POSITIVE_INFINITY,
): string | undefined {
  let best: string | undefined;
  let bestSlips = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const near = Math.max(1, Math.floor(Math.max(word.length, candidate.length) / 3));
    const allowed = Math.min(near, mostSlips);
    if (Math.abs(word.length - candidate.length) > allowed) continue;
    const slips = countSlips(word.toLowerCase(), candidate.toLowerCase());
    if (slips <= allowed && slips < bestSlips) {
      best = candidate;
      bestSlips = slips;
    }
  }
  return best;
}

/** The Damerau-Levenshtein distance, in which no letter takes part in two slips. */
function countSlips(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const wrong = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(beforeLast, j - 2) + 1 : wrong;
      row.push(Math.min(wrong, swapped, at(last, j) + 1, at(row, j - 1) + 1));
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
