import { type Address, parseAddress } from "../net/cidr.ts";
import type { TraceableRule } from "../net/trace.ts";
import type { Diagram } from "./diagram.ts";
import { type Diagrams, type Operation, operation } from "./diagrams.ts";
import { DIMENSIONS, type Matched, type Space } from "./space.ts";

/** A base chain with all chains that it leads to. */
export interface Hook {
  readonly base: string;
  readonly chains: ReadonlyMap<string, readonly TraceableRule[]>;
  readonly priority: number;
  /** Whether the hook may be without effect. */
  readonly doubtful?: boolean;
  /** Whether a chain is ours. */
  readonly isOwn: (chain: string) => boolean;
}

/**
 * What rules may do with a packet, as bits: a value of a diagram has a bit for each possibility. There are several only
 * if a condition is random or not understood, or if the order of rules is unknown.
 */
export const MAY = {
  keep: 1,
  masquerade: 2,
  /** Translate to an address other than the policy's. */
  misdirect: 4,
  unknown: 8,
} as const;

/** Possibilities inside chains. The second of each pair stands for a packet whose mark a rule changed. */
const NEXT = 16;
const NEXT_MARKED = 32;
const RETURN = 64;
const RETURN_MARKED = 128;
const PASS = 256;
const PASS_MARKED = 512;
const HIT = 1024;

const MARK = DIMENSIONS.indexOf("mark");

/** The kernel allows 16 jumps; more chains are never nested. */
const MOST_JUMPS = 16;

/** Compiles rules to diagrams. Throws TooLargeError. */
export class KernelDiagrams {
  readonly #sequences = new Map<number, Operation>();
  readonly #either = operation((a, b) => a | b);
  readonly #guard = operation(
    (a, b) => (a & HIT ? b : 0) | (a & ~HIT),
    a => (a === HIT ? "second" : a & HIT ? undefined : "first"),
  );

  /** @param address the address that masqueraded connections get; undefined: any address of the node */
  constructor(
    readonly diagrams: Diagrams,
    readonly space: Space,
    readonly address?: Address,
  ) {}

  /**
   * The possible results of the hooks for each packet, in their order. If hooks have the same priority, any order is
   * possible.
   */
  result(hooks: readonly Hook[]): Diagram {
    const priorities = [...new Set(hooks.map(it => it.priority))].sort((a, b) => a - b);
    const all = priorities.reduce<Diagram>((before, priority) => {
      const equal = hooks.filter(it => it.priority === priority).map(it => this.#hook(it));
      return this.#then(before, this.#inAnyOrder(equal), PASS, PASS_MARKED);
    }, this.diagrams.leaf(PASS));
    return this.diagrams.map(
      all,
      it => (it & ~PASS & ~PASS_MARKED) | (it & (PASS | PASS_MARKED) ? MAY.keep : 0),
    );
  }

  /** The possible results of a rule and its chains for a packet, as {@link MAY}, ignoring its own conditions. */
  effect(hook: Hook, rule: TraceableRule): Diagram {
    return this.diagrams.map(
      this.#action(hook, rule, 0),
      it => it & (MAY.keep | MAY.masquerade | MAY.misdirect | MAY.unknown),
    );
  }

  readonly #chains = new Map<Hook, Map<string, Diagram>>();

  #hook(hook: Hook): Diagram {
    const result = this.diagrams.map(this.#chain(hook, hook.base, 0), it => {
      const passes = it & (NEXT | RETURN) ? PASS : 0;
      const marked = it & (NEXT_MARKED | RETURN_MARKED) ? PASS_MARKED : 0;
      return (it & ~(NEXT | RETURN | NEXT_MARKED | RETURN_MARKED)) | passes | marked;
    });
    return hook.doubtful ? this.#or(result, this.diagrams.leaf(PASS)) : result;
  }

  /** The union of all orders, since the kernel does not tell which chain was registered first. */
  #inAnyOrder(hooks: readonly Diagram[]): Diagram {
    const [first, ...others] = hooks;
    if (!first) return this.diagrams.leaf(PASS);
    if (hooks.length > MOST_PERMUTED)
      return this.#or(this.#inAnyOrder(hooks.slice(0, 1)), this.diagrams.leaf(MAY.unknown));
    if (others.length === 0) return first;
    return hooks
      .map((it, i) => this.#then(it, this.#inAnyOrder(hooks.toSpliced(i, 1)), PASS, PASS_MARKED))
      .reduce((a, b) => this.#or(a, b));
  }

  #chain(hook: Hook, chain: string, depth: number): Diagram {
    const known = this.#chains.get(hook) ?? new Map<string, Diagram>();
    this.#chains.set(hook, known);
    const rules = hook.chains.get(chain);
    if (!rules || depth > MOST_JUMPS) return this.diagrams.leaf(MAY.unknown | NEXT);
    let result = known.get(chain);
    if (!result) {
      const steps = rules.flatMap(rule => this.#rule(hook, rule, depth) ?? []);
      result = this.#inOrder(steps, 0, steps.length);
      known.set(chain, result);
    }
    return result;
  }

  /** Halves the list, so that long lists take n log n time. */
  #inOrder(steps: readonly Diagram[], from: number, to: number): Diagram {
    const only = steps[from];
    if (to - from < 2 && only) return only;
    if (!only || to <= from) return this.diagrams.leaf(NEXT);
    const middle = (from + to) >> 1;
    return this.#then(
      this.#inOrder(steps, from, middle),
      this.#inOrder(steps, middle, to),
      NEXT,
      NEXT_MARKED,
    );
  }

  /** Undefined if no packet meets the conditions, or the rule has no effect. */
  #rule(hook: Hook, rule: TraceableRule, depth: number): Diagram | undefined {
    if (rule.action.does === "nothing" && !rule.marks) return undefined;
    const matched = this.space.match(rule.conditions);
    if (!matched) return undefined;
    return this.diagrams.combine(this.#guardOf(matched), this.#action(hook, rule, depth), this.#guard);
  }

  #guardOf({ box, uncertain }: Matched): Diagram {
    const outside = this.diagrams.leaf(NEXT);
    const inside = this.diagrams.leaf(uncertain ? HIT | NEXT : HIT);
    return DIMENSIONS.reduceRight<Diagram>((at, dimension, i) => {
      const ranges = box.get(dimension);
      return ranges ? this.diagrams.split(i, this.space.every(dimension), ranges, at, outside) : at;
    }, inside);
  }

  #action(hook: Hook, { action, marks }: TraceableRule, depth: number): Diagram {
    const leaf = (value: number) => this.diagrams.leaf(value);
    switch (action.does) {
      case "masquerade":
        return leaf(this.address ? MAY.misdirect : MAY.masquerade);
      case "snat":
        return leaf(this.#translation(action.address));
      case "bind":
        return leaf(MAY.keep);
      case "accept":
        return leaf(marks ? PASS_MARKED : PASS);
      case "return":
        return leaf(marks ? RETURN_MARKED : RETURN);
      case "nothing":
        return leaf(marks ? NEXT_MARKED : NEXT);
      case "unknown":
        return leaf(MAY.unknown | NEXT | NEXT_MARKED);
      case "jump":
      case "goto": {
        const inner = this.#chain(hook, action.to, depth + 1);
        const [plain, marked] = action.does === "jump" ? [NEXT, NEXT_MARKED] : [RETURN, RETURN_MARKED];
        const ended = this.diagrams.map(inner, it => {
          const back = it & (NEXT | RETURN) ? plain : 0;
          const backMarked = it & (NEXT_MARKED | RETURN_MARKED) ? marked : 0;
          return (it & (PASS | PASS_MARKED | 15)) | back | backMarked;
        });
        return marks ? this.#marked(ended) : ended;
      }
    }
  }

  /** A translation to an address, which is not known for a range of addresses. */
  #translation(text: string | undefined): number {
    const to = parseAddress(text ?? "");
    if ("what" in to) return MAY.masquerade | MAY.misdirect;
    const isMeant = this.address
      ? this.address.value === to.value
      : this.space.local.some(([first, last]) => first <= to.value && to.value <= last);
    return isMeant ? MAY.masquerade : MAY.misdirect;
  }

  /** The first rules, then the others for the packets that the first ones let through. */
  #then(first: Diagram, others: Diagram, through: number, throughMarked: number): Diagram {
    let sequence = this.#sequences.get(through);
    if (!sequence) {
      sequence = operation(
        (a, b) => (a & through ? (a & ~through) | b : a),
        a => (a === through ? "second" : a & through ? undefined : "first"),
      );
      this.#sequences.set(through, sequence);
    }
    const isMarked = this.#has(first, throughMarked);
    const tagged = isMarked
      ? this.diagrams.map(first, it => (it & throughMarked ? (it & ~throughMarked) | HIT : it))
      : first;
    const result = this.diagrams.combine(tagged, others, sequence);
    if (!isMarked) return result;
    const marked = this.#marked(others);
    return this.diagrams.combine(result, marked, this.#guard);
  }

  /** The same rules for packets whose mark is unknown. */
  #marked(diagram: Diagram): Diagram {
    const forgotten = this.diagrams.forget(diagram, MARK, this.#either);
    return this.diagrams.map(forgotten, it => {
      const plain = it & (NEXT | RETURN | PASS);
      return (it & ~plain) | (plain << 1);
    });
  }

  #or(a: Diagram, b: Diagram): Diagram {
    return this.diagrams.combine(a, b, this.#either);
  }

  #has(diagram: Diagram, bits: number, seen = new Set<Diagram>()): boolean {
    if ("value" in diagram) return (diagram.value & bits) !== 0;
    if (seen.has(diagram)) return false;
    seen.add(diagram);
    return diagram.next.some(it => this.#has(it, bits, seen));
  }
}

/** More hooks of one priority have too many orders. */
const MOST_PERMUTED = 4;
