import type { AddressValue, Family } from "../net/cidr.ts";
import type { Ranges } from "../net/ranges.ts";
import type { Verdict } from "../net/verdict.ts";
import type { Policy } from "../policy/policy.ts";
import { countPieces, type Diagram, stepsOf } from "./diagram.ts";
import { Diagrams, operation, TooLargeError } from "./diagrams.ts";
import { type Hook, KernelDiagrams, MAY } from "./kernel-diagram.ts";
import { DESIRED, policyConditions, policyDiagram } from "./policy-diagram.ts";
import { DIMENSIONS, type Dimension, type NodeAddresses, Space } from "./space.ts";
import { type Place, witness } from "./witness.ts";

/** Packets whose verdict differs from the policy, or is not known. */
export interface Finding<H extends Hook> {
  readonly desired: Verdict;
  readonly got: Verdict | "misdirect" | "unknown";
  /** The ranges of the dimensions that matter. */
  readonly packets: ReadonlyMap<Dimension, Ranges>;
  /** The number of ranges of destinations; `packets` has only the first ones. */
  readonly destinations: number;
  /** The rule that decides; undefined if no rule does. */
  readonly by: Place<H> | undefined;
  /** Rules that may decide, but are not understood. */
  readonly doubts: readonly Place<H>[];
  /** As in {@link DESIRED}. */
  readonly unselected: boolean;
}

/** The comparison of the rules of one family with the policy. */
export interface Proof<H extends Hook> {
  readonly space: Space;
  /** The pieces into which policy and rules cut all packets. */
  readonly pieces: number;
  readonly differing: number;
  readonly unproven: number;
  /** The first differing and unproven pieces. */
  readonly findings: readonly Finding<H>[];
  /** Packets that foreign rules treat differently, and that the policy leaves to them. */
  readonly leftToOthers: readonly Finding<H>[];
  /** Why nothing was proven; undefined if it was tried. */
  readonly failure?: string;
}

/** More findings are counted, but not explained: each explanation passes all rules. */
const MOST_FINDINGS = 100;
/** Ranges of destinations that are explained for each piece. */
const MOST_RANGES = 20;

/**
 * Compares the policy's verdict on every packet of a family with the verdict of the kernel's NAT at postrouting.
 *
 * @param hooks all base chains for source NAT
 * @param own the hooks with only our rules
 * @param ipsec whether packets may be under an IPsec policy
 */
export function prove<H extends Hook>(
  policy: Policy,
  family: Family,
  hooks: readonly H[],
  own: readonly H[],
  node: NodeAddresses,
  ipsec = true,
): Proof<H> {
  const conditions = hooks.flatMap(({ chains }) =>
    [...chains.values()].flatMap(rules => rules.flatMap(rule => rule.conditions)),
  );
  const space = new Space(family, [...policyConditions(policy), ...conditions], node, ipsec);
  try {
    return new Prover(policy, space, hooks, own).proof();
  } catch (error) {
    if (!(error instanceof TooLargeError)) throw error;
    return {
      ...{ space, pieces: 0, differing: 0, unproven: 0 },
      findings: [],
      leftToOthers: [],
      failure: error.message,
    };
  }
}

/** A value has the policy's verdict, what all rules may do, and what our rules may do. */
const BITS = 4;
const ALL = (1 << BITS) - 1;

class Prover<H extends Hook> {
  readonly #diagrams = new Diagrams();
  readonly #kernel: KernelDiagrams;

  constructor(
    readonly policy: Policy,
    readonly space: Space,
    readonly hooks: readonly H[],
    readonly own: readonly H[],
  ) {
    const family = policy.families.find(it => it.family === space.family);
    this.#kernel = new KernelDiagrams(this.#diagrams, space, family?.snat?.chosen?.address);
  }

  proof(): Proof<H> {
    const desired = policyDiagram(this.policy, this.space, this.#diagrams);
    const whole = this.#kernel.result(this.hooks);
    const ours = this.#kernel.result(this.own);
    const append = operation((a, b) => (a << BITS) | b);
    const joined = this.#diagrams.combine(this.#diagrams.combine(whole, ours, append), desired, append);
    const is = (judgement: ReturnType<typeof judge>) => (value: number) => judge(value) === judgement;
    const [differing, unproven, others] = [is("differs"), is("unproven"), is("others")];
    return {
      space: this.space,
      pieces: countPieces(joined, value => (value & ALL) !== 0),
      differing: countPieces(joined, differing),
      unproven: countPieces(joined, unproven),
      findings: [...this.#findings(joined, differing), ...this.#findings(joined, unproven)],
      leftToOthers: this.#findings(joined, others),
    };
  }

  #findings(joined: Diagram, selected: (value: number) => boolean): Finding<H>[] {
    const findings: Finding<H>[] = [];
    const counted = new Map<Diagram, number>();
    const leads = (to: Diagram) => countPieces(to, selected, counted) > 0;
    if (!leads(joined)) return [];
    for (const { value, packets } of this.#pieces(joined, leads, new Map())) {
      if (findings.length >= MOST_FINDINGS) break;
      findings.push(
        ...this.#explained(value, packets, judge(value) !== "others" && (value & DESIRED.onlyOurs) !== 0),
      );
    }
    return findings;
  }

  /** The pieces that `leads` selects; pieces that differ only in their destination are one. */
  *#pieces(
    at: Diagram,
    leads: (to: Diagram) => boolean,
    packets: ReadonlyMap<Dimension, Ranges>,
  ): Generator<{ readonly value: number; readonly packets: ReadonlyMap<Dimension, Ranges> }> {
    if ("value" in at) {
      yield { value: at.value, packets };
      return;
    }
    const dimension = DIMENSIONS[at.on] ?? "destination";
    const [[first] = [0]] = this.space.every(dimension);
    for (const { to, ranges } of stepsOf(at, first)) {
      if (!leads(to)) continue;
      for (const it of dimension === "mark" ? single(ranges) : [ranges])
        yield* this.#pieces(to, leads, new Map([...packets, [dimension, it]]));
    }
  }

  /** A finding for each rule that decides about a part of a piece. */
  #explained(value: number, packets: ReadonlyMap<Dimension, Ranges>, onlyOurs: boolean): Finding<H>[] {
    const got = nameOf(onlyOurs ? (value >> BITS) & ALL : value >> (2 * BITS));
    const destinations = packets.get("destination") ?? this.space.every("destination");
    const byRule = new Map<
      object | undefined,
      { witness: ReturnType<typeof witness<H>>; ranges: [AddressValue, AddressValue][] }
    >();
    for (const [first, last] of destinations.slice(0, MOST_RANGES)) {
      const packet = DIMENSIONS.map(it =>
        it === "destination" ? first : ((packets.get(it) ?? this.space.every(it))[0]?.[0] ?? 0),
      );
      const found = witness(onlyOurs ? this.own : this.hooks, this.#kernel, packet);
      const isUnknown = got === "unknown";
      const key = isUnknown ? found.doubts[0]?.rule : found.by?.rule;
      const group = byRule.get(key);
      if (group) group.ranges.push([first, last]);
      else byRule.set(key, { witness: found, ranges: [[first, last]] });
    }
    const groups = [...byRule.values()];
    return groups.map(({ witness: { by, doubts }, ranges }) => ({
      desired: value & DESIRED.keep ? "keep" : "masquerade",
      got,
      packets: new Map([...packets, ["destination", ranges]]),
      destinations: groups.length > 1 ? ranges.length : destinations.length,
      by,
      doubts,
      unselected: (value & DESIRED.unselected) !== 0,
    }));
  }
}

/** Each value alone: rules of different programs decide about packets with different marks. */
function single(classes: Ranges): Ranges[] {
  return classes.flatMap(([first, last]) =>
    Array.from({ length: Number(last) - Number(first) + 1 }, (_, i): Ranges => {
      const at = Number(first) + i;
      return [[at, at]];
    }),
  );
}

function nameOf(may: number): Finding<Hook>["got"] {
  if (may === MAY.keep) return "keep";
  if (may === MAY.masquerade) return "masquerade";
  return may === MAY.misdirect ? "misdirect" : "unknown";
}

/** `others` if only foreign rules differ, and the policy leaves the packet to them. */
function judge(value: number): "agrees" | "differs" | "unproven" | "others" {
  const verdict = value & ALL;
  if (verdict === 0) return "agrees";
  const whole = compared(verdict, value >> (2 * BITS));
  if ((verdict & DESIRED.onlyOurs) === 0) return whole;
  const ours = compared(verdict, (value >> BITS) & ALL);
  return ours === "agrees" && whole !== "agrees" ? "others" : ours;
}

function compared(verdict: number, may: number): "agrees" | "differs" | "unproven" {
  const desired = verdict & DESIRED.keep ? MAY.keep : MAY.masquerade;
  if (may === desired) return "agrees";
  return may & (desired | MAY.unknown) ? "unproven" : "differs";
}
