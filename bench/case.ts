import type { Comparison } from "./comparison.ts";
import type { Table } from "./run.ts";
import type { Chart } from "./svg.ts";
import type { Target } from "./targets.ts";

/** A measurement: how to take it, and how to show its result. */
export interface Case {
  readonly title: string;
  /** Measures, and returns all single figures. */
  measure(): Promise<unknown>;
  /** Shows the result in a file; it may be an old one. */
  show(file: string): Promise<Report>;
}

export interface Report {
  /** How it was measured, and what the figures mean. */
  readonly how: string;
  readonly tables: readonly Table[];
  readonly chart?: Chart;
  readonly comparisons?: readonly Comparison[];
  readonly targets?: readonly Target[];
}

/** @param report must not measure anything: the result may come from another machine */
export function defineCase<Raw>(
  title: string,
  measure: () => Promise<Raw>,
  report: (raw: Raw) => Report,
): Case {
  const show = async (file: string) => {
    const { raw }: { raw: Raw } = await Bun.file(file).json();
    return report(raw);
  };
  return { title, measure, show };
}
