import {
  covers,
  type InterfaceSelection,
  isSelected,
  selectionOf,
  selectionTexts,
} from "../net/interface-name.ts";
import type { Condition } from "../net/trace.ts";

type Out = Extract<Condition, { readonly on: "out" | "protocol" }>;

/** Whether packets that meet all conditions may leave by a selected interface. Undefined selects every interface. */
export function mayLeaveBy(
  conditions: readonly Condition[],
  selection: InterfaceSelection | undefined,
): boolean {
  return !selection || outIn(conditions).every(it => mayMeet(it, selection));
}

function mayMeet({ names, not }: Out, { except, patterns }: InterfaceSelection): boolean {
  // No list of exceptions contains all names, so two such lists always leave some.
  if (not) return except || !patterns.every(own => names.some(it => covers(it, own)));
  return names.some(name =>
    except ? !patterns.some(own => covers(own, name)) : patterns.some(own => overlap(own, name)),
  );
}

/** Whether two interface names can be the same, where `*` at the end stands for any characters. */
function overlap(one: string, other: string): boolean {
  return covers(one, other) || covers(other, one);
}

/**
 * The interfaces that every path to a rule requires, as in `outputInterfaces`. Undefined if a path has any interface, or
 * if the paths have no common form.
 *
 * @param paths the conditions of each path
 */
export function requiredInterfaces(paths: readonly (readonly Condition[])[]): string[] | undefined {
  const outs = paths.flatMap(conditions => outIn(conditions).slice(0, 1));
  const [first] = outs;
  if (!first || outs.length < paths.length) return undefined;
  if (outs.every(it => !it.not)) return [...new Set(outs.flatMap(it => it.names))];
  const isSame = outs.every(it => it.not && it.names.join() === first.names.join());
  return isSame ? selectionTexts({ except: true, patterns: first.names }) : undefined;
}

/** Whether {@link requiredInterfaces} allow a packet that leaves by an interface. Undefined: not known. */
export function allowsInterface(interfaces: readonly string[] | undefined, out: string | undefined): boolean {
  return !interfaces || out === undefined || isSelected(selectionOf(interfaces), out);
}

function outIn(conditions: readonly Condition[]): Out[] {
  return conditions.flatMap(it => (it.on === "out" ? [it] : []));
}
