import type { AddressValue } from "../net/cidr.ts";
import type { Action, Condition, TraceableRule } from "../net/trace.ts";
import { valueAt } from "./diagram.ts";
import type { Hook, KernelDiagrams } from "./kernel-diagram.ts";

/** A rule and its chain. */
export interface Place<H extends Hook> {
  readonly hook: H;
  readonly chain: string;
  readonly rule: TraceableRule;
}

/** The rules that decide about one packet. */
export interface Witness<H extends Hook> {
  /** The rule that ended NAT or the base chain; undefined if no rule did. */
  readonly by: Place<H> | undefined;
  /** Rules that may decide, but are not understood. */
  readonly doubts: readonly Place<H>[];
}

/** Traces one packet through the hooks, rule by rule. Assumes that rules that are not understood do nothing. */
export function witness<H extends Hook>(
  hooks: readonly H[],
  kernel: KernelDiagrams,
  packet: readonly AddressValue[],
): Witness<H> {
  const trace = new Trace<H>(kernel, packet);
  const translation = hooks
    .toSorted((a, b) => a.priority - b.priority)
    .values()
    .map(hook => trace.chain(hook, hook.base))
    .find(it => it !== undefined && TRANSLATING.has(it.rule.action.does));
  const random = trace.doubts.filter(({ rule }) => isRandom(rule));
  const doubts =
    random.length < trace.doubts.length ? trace.doubts.filter(it => !random.includes(it)) : random;
  return { by: translation ?? trace.ourReturn ?? trace.lastEnd, doubts };
}

const TRANSLATING: ReadonlySet<Action["does"]> = new Set(["masquerade", "snat", "bind"]);

/** Whether a rule is understood except for its random match. */
function isRandom({ conditions, action }: TraceableRule): boolean {
  return action.does !== "unknown" && conditions.every(({ on }) => on !== "unknown");
}

class Trace<H extends Hook> {
  readonly doubts: Place<H>[] = [];
  /** The last rule that left one of our chains without translation. */
  ourReturn: Place<H> | undefined;
  /** The last rule that left any chain without translation. */
  lastEnd: Place<H> | undefined;

  /** Whether a rule changed the packet's mark, so that it is unknown. */
  #marked = false;

  constructor(
    readonly kernel: KernelDiagrams,
    readonly packet: readonly AddressValue[],
  ) {}

  /** The rule that ends NAT or the base chain; undefined if the packet returns from the chain. */
  chain(hook: H, chain: string): Place<H> | undefined {
    for (const rule of hook.chains.get(chain) ?? []) {
      const { action, conditions } = rule;
      if (action.does === "nothing" && !rule.marks) continue;
      const holds = this.#holds(conditions);
      if (holds === false) continue;
      if (rule.marks) this.#marked = true;
      if (action.does === "nothing") continue;
      const place = { hook, chain, rule };
      if (
        holds === undefined ||
        action.does === "unknown" ||
        ("to" in action && !hook.chains.has(action.to))
      ) {
        this.#doubt(place);
      } else if ("to" in action) {
        const inner = this.chain(hook, action.to);
        if (inner) return inner;
        if (action.does === "goto") return this.#left(place);
      } else if (action.does === "return") {
        return this.#left(place);
      } else {
        if (!TRANSLATING.has(action.does)) this.#left(place);
        return place;
      }
    }
    return undefined;
  }

  /** Undefined if the packet may meet the conditions. */
  #holds(conditions: readonly Condition[]): boolean | undefined {
    const { space } = this.kernel;
    if (!this.#marked) return space.holds(conditions, this.packet);
    const others = conditions.filter(({ on }) => on !== "mark");
    const holds = space.holds(others, this.packet);
    return holds && others.length < conditions.length ? undefined : holds;
  }

  #doubt(place: Place<H>): void {
    const { hook, rule } = place;
    const isIdle = "to" in rule.action && valueAt(this.kernel.effect(hook, rule), this.packet) === 0;
    if (!isIdle) this.doubts.push(place);
  }

  #left(place: Place<H>): Place<H> | undefined {
    if (place.rule.action.does !== "goto") this.lastEnd = place;
    if (place.hook.isOwn(place.chain) && place.rule.action.does === "return") this.ourReturn = place;
    return place.chain === place.hook.base ? place : undefined;
  }
}
