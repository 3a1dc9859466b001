import { type Position, type Problem, quote } from "./problem.ts";

/** A value of a document. One that aliases use is one object, which stands where its anchor is. */
export type Node = Scalar | List | Mapping;

export interface Scalar {
  readonly kind: "scalar";
  readonly at: Required<Position>;
  readonly text: string;
  readonly style: "plain" | "quoted" | "literal" | "folded";
}

interface List {
  readonly kind: "list";
  readonly at: Required<Position>;
  readonly items: readonly Node[];
}

export interface Mapping {
  readonly kind: "mapping";
  readonly at: Required<Position>;
  /** By their keys, of which no two are equal. */
  readonly entries: ReadonlyMap<string, Entry>;
}

export interface Entry {
  readonly key: Scalar;
  readonly value: Node;
  /** Whether it comes from another mapping by a merge key; an entry of the mapping itself overrides it. */
  readonly merged?: boolean;
}

/** The error for a key that stands in a mapping already. */
export function givenTwice(key: Scalar, first: Scalar): Problem {
  const spelling = key.text === first.text ? "" : ` as ${quote(first.text)}`;
  return {
    severity: "error",
    at: key.at,
    key: key.text,
    what: `given twice, first${spelling} in line ${first.at.line}`,
    remedy: "remove one of the two",
  };
}
