import type { Lab } from "../../../lab/lab.ts";
import type { Expectation } from "../../kernel/expectations.ts";

/** A program that writes its own rules on the node all the time. */
export interface Neighbour {
  /** Runs one round of its work; `n` counts from 0. */
  work(n: number): Promise<unknown>;
  /** Milliseconds from the start of a round to the next. */
  readonly every: number;
  /** Makes it restore the rules that it had after its start. */
  settle(): Promise<unknown>;
  /** The effects of its rules on connections from the Pod; no rule of ipmasq has the same effect. */
  readonly effects: readonly Expectation[];
  /** Whether a connection that its rules masquerade, and that the policy keeps, keeps its source. */
  readonly kept?: () => Promise<boolean>;
}

export type Start = (lab: Lab) => Promise<Neighbour>;
