/**
 * The known word closest to a misspelt word, ignoring case; undefined if no word is close. Close means at most one typo
 * per three letters. A typo is one letter added, removed or changed, or two neighbours swapped.
 *
 * `fastest-levenshtein` counts a swap as two typos, so "chekc" would not suggest "check".
 *
 * @param mostTypos an upper limit for words of any length
 */
export function closestMatch(
  word: string,
  known: readonly string[],
  mostTypos = Number.POSITIVE_INFINITY,
): string | undefined {
  let best: string | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const close = Math.max(1, Math.floor(Math.max(word.length, candidate.length) / 3));
    const allowed = Math.min(close, mostTypos);
    if (Math.abs(word.length - candidate.length) > allowed) continue;
    const typos = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (typos <= allowed && typos < fewest) {
      best = candidate;
      fewest = typos;
    }
  }
  return best;
}

/** The optimal string alignment distance: Levenshtein's distance, where a swap of neighbours is one edit. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(beforeLast, j - 2) + 1 : replaced;
      row.push(Math.min(replaced, swapped, at(last, j) + 1, at(row, j - 1) + 1));
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
