import type { Lab } from "../../../lab/lab.ts";
import type { Expectation } from "../../kernel/expectations.ts";

/** A program on our node that writes rules of its own all the time. */
export interface Neighbour {
  /** Does once what it does again and again; `n` counts from 0. */
  work(n: number): Promise<unknown>;
  /** Milliseconds from one beginning to the next. */
  readonly every: number;
  /** Has it bring its rules into the state in which they were after its start. */
  settle(): Promise<unknown>;
  /** What its rules do to connections from the Pod; nothing of ours does the same. */
  readonly effects: readonly Expectation[];
}

export type Start = (lab: Lab) => Promise<Neighbour>;
