import { readConntrack } from "../inspect/conntrack.ts";
import { messageOf } from "../system/errors.ts";
import type { AgentState } from "./agent-state.ts";
import type { Log } from "./log.ts";
import type { Metric, MetricSource, Sample } from "./metric.ts";
import { METRICS } from "./metrics.ts";

/** The metrics in Prometheus' text format. A value that cannot be read is left out and reported once in the log. */
export class Exposition {
  static readonly contentType = "text/plain; version=0.0.4; charset=utf-8";

  /** Metrics whose failure was logged. */
  readonly #reported = new Set<string>();

  /** @param mostCidrs the maximum number of CIDRs with their own series */
  constructor(
    readonly state: AgentState,
    readonly log: Log,
    readonly mostCidrs: number,
  ) {}

  /** The text in pieces; they are generated on demand because there may be many CIDRs. */
  async text(): Promise<Iterable<string>> {
    const { state, mostCidrs } = this;
    return this.#pieces({ state, mostCidrs, conntrack: await readConntrack() });
  }

  *#pieces(source: MetricSource): Generator<string> {
    for (const metric of METRICS) {
      try {
        yield* this.#metric(metric, source);
      } catch (error) {
        this.#report(metric.name, error);
      }
    }
  }

  *#metric(metric: Metric, source: MetricSource): Generator<string> {
    const { name, type, help } = metric;
    const values = metric.read(source);
    if (values === undefined) return;
    yield `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const { value, labels, suffix = "" } of typeof values === "number" ? [{ value: values }] : values) {
      const series = `${name}${suffix}${labels ? labelText(labels) : ""}`;
      if (Number.isFinite(value) && value >= 0) yield `${series} ${value}\n`;
      else this.#report(name, new Error(`${series} is ${value}`));
    }
    yield "\n";
  }

  #report(metric: string, error: unknown): void {
    if (this.#reported.has(metric)) return;
    this.#reported.add(metric);
    this.log.error("metric left out; please report this", { metric, error: messageOf(error) });
  }
}

function labelText(labels: NonNullable<Sample["labels"]>): string {
  return `{${Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)}}`;
}

/** Escapes a label's value: `\\`, `\"` and `\n`. */
function escaped(value: string): string {
  return /[\\"\n]/.test(value) ? value.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n") : value;
}
