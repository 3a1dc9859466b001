import { difference, united } from "../net/ranges.ts";
import type { Condition } from "../net/trace.ts";
import { addresses, keptDestinations } from "../policy/decision.ts";
import type { Policy } from "../policy/policy.ts";
import type { Diagram } from "./diagram.ts";
import { type Diagrams, operation, TooLargeError } from "./diagrams.ts";
import { DIMENSIONS, type Dimension, type Space } from "./space.ts";

/** The verdict of a policy on a packet, as bits: a value of a diagram. */
export const DESIRED = {
  keep: 1,
  masquerade: 2,
  /**
   * Whether only our own rules must give this verdict. This holds for packets that foreign programs marked, for
   * destinations that the policy never masquerades, under an IPsec policy, and for unselected packets.
   */
  onlyOurs: 4,
  /** Whether the packet comes from outside of `sourceCIDRs`, or leaves by an interface outside of `outputInterfaces`. */
  unselected: 8,
} as const;

/** Conditions for everything that a policy distinguishes, except addresses. */
export function policyConditions({ outputInterfaces, nonMasqueradeMarks }: Policy): Condition[] {
  return [
    { on: "out", not: false, names: outputInterfaces?.patterns ?? [] },
    ...nonMasqueradeMarks.map(({ value, mask }): Condition => ({ on: "mark", not: false, value, mask })),
  ];
}

/** The value for packets that do not exist: they leave by the loopback interface, but not to the node itself. */
const NEVER = 0;

/** The verdicts of a policy on all packets of a family. */
export function policyDiagram(policy: Policy, space: Space, diagrams: Diagrams): Diagram {
  const family = policy.families.find(it => it.family === space.family);
  let result = diagrams.leaf(family ? DESIRED.masquerade : DESIRED.keep | DESIRED.onlyOurs);
  /** Outside the ranges, replaces each verdict. */
  const except = (
    dimension: Dimension,
    ranges: ReturnType<Space["every"]>,
    otherwise: (verdict: number) => number,
  ) => {
    const inside = diagrams.split(
      DIMENSIONS.indexOf(dimension),
      space.every(dimension),
      ranges,
      diagrams.leaf(1),
      diagrams.leaf(0),
    );
    result = diagrams.combine(
      inside,
      result,
      operation((is, verdict) => (is ? verdict : otherwise(verdict))),
    );
  };
  const keep = () => DESIRED.keep;
  const leaveAlone = () => DESIRED.keep | DESIRED.onlyOurs | DESIRED.unselected;
  const all = (dimension: Dimension) => space.every(dimension);
  if (family) {
    except("destination", difference(all("destination"), keptDestinations(family)), keep);
    if (policy.outputInterfaces) {
      const { except: isNegated, patterns } = policy.outputInterfaces;
      const named = space.interfaces.matching(patterns);
      except("out", isNegated ? difference(all("out"), named) : named, leaveAlone);
    }
    if (family.sources) except("source", addresses(family.sources), leaveAlone);
    except("source", difference(all("source"), addresses(family.nonMasqueradeSources)), keep);
  }
  const marked = united(policy.nonMasqueradeMarks.flatMap(it => space.marks.matching(it) ?? tooManyMarks()));
  except("mark", difference(all("mark"), marked), keep);
  const ours = space.marks.onlyWith(policy.nonMasqueradeMarks);
  except("mark", united([[0, 0], ...ours]), verdict => verdict | DESIRED.onlyOurs);
  except("ipsec", [[0, 0]], () => DESIRED.keep | DESIRED.onlyOurs);
  except("destination", difference(all("destination"), space.exempt), () => DESIRED.keep | DESIRED.onlyOurs);
  return withoutLoopback(result, space, diagrams);
}

function withoutLoopback(result: Diagram, space: Space, diagrams: Diagrams): Diagram {
  const [destination, out] = [DIMENSIONS.indexOf("destination"), DIMENSIONS.indexOf("out")];
  const byInterface = diagrams.split(
    out,
    space.every("out"),
    space.interfaces.loopback,
    diagrams.leaf(0),
    diagrams.leaf(1),
  );
  const exists = diagrams.split(
    destination,
    space.every("destination"),
    space.exempt,
    diagrams.leaf(1),
    byInterface,
  );
  return diagrams.combine(
    exists,
    result,
    operation((is, verdict) => (is ? verdict : NEVER)),
  );
}

function tooManyMarks(): never {
  throw new TooLargeError("too many different marks");
}
