import type { Conntrack } from "../inspect/conntrack.ts";
import type { AgentState } from "./agent-state.ts";

/** The sources of all values. */
export interface MetricSource {
  readonly state: AgentState;
  /** Undefined if the kernel does not track connections. */
  readonly conntrack: Conntrack | undefined;
  /** The maximum number of CIDRs with their own series. */
  readonly mostCidrs: number;
}

/** A value with its labels; the suffix extends the metric's name. */
export interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly suffix?: string;
}

/** One metric, as the source for `/metrics`, docs/metrics.md and the queries of the dashboard. */
export interface Metric {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** A sentence, for `# HELP` and the docs. */
  readonly help: string;
  /** The meaning of each label, for the docs. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The current values; undefined if they are not available. */
  readonly read: (from: MetricSource) => number | undefined | Iterable<Sample>;
}
