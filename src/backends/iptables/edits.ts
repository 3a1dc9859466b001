/**
 * A change of one rule of a chain. Rules are named by their index in the actual or the desired rules. A rule is inserted
 * before an actual rule, or appended; `at` is its number in the chain at that time, counted from 1.
 */
export type Edit =
  | { readonly does: "delete"; readonly actual: number }
  | { readonly does: "insert"; readonly desired: number; readonly before: number; readonly at: number }
  | { readonly does: "append"; readonly desired: number };

/**
 * The edits that turn the actual rules of a chain into the desired rules, in order. Rules that stay keep their counts in
 * the kernel. Undefined if rules change their order, or if most rules differ, because writing the whole chain then costs
 * less.
 */
export function editsOf(actual: readonly string[], desired: readonly string[]): readonly Edit[] | undefined {
  const places = new Map(desired.map((text, i) => [text, i]));
  const edits: Edit[] = [];
  let next = 0;
  let at = 1;
  for (const [i, text] of actual.entries()) {
    const place = places.get(text);
    if (place === undefined) {
      edits.push({ does: "delete", actual: i });
      continue;
    }
    if (place < next) return undefined;
    for (; next < place; next++, at++) edits.push({ does: "insert", desired: next, before: i, at });
    next++;
    at++;
  }
  for (; next < desired.length; next++) edits.push({ does: "append", desired: next });
  return edits.length <= Math.max(FEW, desired.length / 2) ? edits : undefined;
}

const FEW = 8;
