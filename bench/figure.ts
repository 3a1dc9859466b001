/** The value below which the given share of all values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.max(Math.ceil(share * sorted.length), 1), sorted.length) - 1] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Half of the interquartile range, as a share of the median: 0.02 is ± 2 %. */
export function spread(values: readonly number[]): number {
  return (quantile(values, 0.75) - quantile(values, 0.25)) / 2 / median(values);
}

/** Divides value by value, for figures that were measured in turns. */
export function ratios(values: readonly number[], references: readonly number[]): number[] {
  return values.flatMap((value, i) => {
    const reference = references[i];
    return reference === undefined ? [] : [value / reference];
  });
}

/** Three significant digits, with separators of thousands. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en-US", { maximumFractionDigits: digits, maximumSignificantDigits: 3 });
}

/** Seconds; below one second as ms. */
export function duration(seconds: number): string {
  return seconds < 1 ? `${number(1000 * seconds)} ms` : `${number(seconds)} s`;
}

export function megabytes(bytes: number): string {
  return `${number(bytes / 1e6)} MB`;
}

export function percent(share: number): string {
  return `${number(100 * share)} %`;
}

export function times(ratio: number): string {
  return `${number(ratio)} times`;
}
