import type { Family } from "../../net/cidr.ts";
import type { Command } from "../../nft/json.ts";
import type { Rule } from "../../nft/table.ts";
import { ruleText } from "../../nft/text.ts";
import { type Edit, editsOf } from "./edits.ts";
import { type ActualRule, destinationOf } from "./nft-rule.ts";

/** A chain of table `nat` that differs from the desired chain. */
export interface ChainChange {
  readonly name: string;
  readonly actual: readonly ActualRule[];
  readonly desired: readonly Rule[];
  /** Undefined if the chain is written as a whole. */
  readonly edits: readonly Edit[] | undefined;
}

/** The chain of a rule. */
export interface Place {
  readonly family: Family;
  readonly table: string;
  readonly chain: string;
}

/**
 * How a chain differs from the desired chain; undefined if it does not. Only rules with a destination are changed one by
 * one: other rules may share a counter, whose identity consists of their handles.
 *
 * @param actual undefined if the chain does not exist
 */
export function changeOf(
  name: string,
  actual: readonly ActualRule[] | undefined,
  desired: readonly Rule[],
): ChainChange | undefined {
  if (!actual) return { name, actual: [], desired, edits: undefined };
  const texts = actual.map(ruleText);
  const desiredTexts = desired.map(ruleText);
  if (Bun.deepEquals(texts, desiredTexts)) return undefined;
  const edits = editsOf(texts, desiredTexts);
  const touched = edits?.map(it => (it.does === "delete" ? actual[it.actual] : desired[it.desired]));
  const mayEdit = touched?.every(rule => rule && destinationOf(rule)) ?? false;
  return { name, actual, desired, edits: mayEdit ? edits : undefined };
}

/** The commands that change a chain, which exists and is empty if it is written as a whole. */
export function commandsOf({ actual, desired, edits }: ChainChange, place: Place): Command[] {
  const add = (rule: Rule): Command => ({ add: { rule: ruleOf(place, rule) } });
  const handle = (i: number) => actual[i]?.handle ?? 0;
  if (!edits) return desired.map(add);
  return edits.map(edit => {
    if (edit.does === "delete") return { delete: { rule: { ...place, handle: handle(edit.actual) } } };
    const rule = desired[edit.desired] ?? { expr: [] };
    if (edit.does === "append") return add(rule);
    return { insert: { rule: { ...ruleOf(place, rule), handle: handle(edit.before) } } };
  });
}

/** A rule as an object of nft's JSON. */
export function ruleOf(place: Place, { comment = "", expr }: Rule) {
  return { ...place, comment, expr: [...expr] };
}

/**
 * Whether a change needs a listing: it removes rules that count, or places a rule before a rule whose handle is not
 * known.
 */
export function needsListing({ actual, edits }: ChainChange): boolean {
  if (!edits) return actual.length > 0;
  return edits.some(it => it.does === "delete" || (it.does === "insert" && !actual[it.before]?.handle));
}

/** The rules with their counts after a change. New rules have no handle. */
export function rulesAfter({ actual, desired, edits }: ChainChange): readonly Rule[] {
  if (!edits) return desired;
  const deleted = new Set(edits.flatMap(it => (it.does === "delete" ? [it.actual] : [])));
  const kept = actual.filter((_, i) => !deleted.has(i)).values();
  const inserted = new Set(edits.flatMap(it => (it.does === "delete" ? [] : [it.desired])));
  return desired.map((rule, i) => (inserted.has(i) ? rule : (kept.next().value ?? rule)));
}
