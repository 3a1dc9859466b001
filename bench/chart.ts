/** Curves over two logarithmic axes, as data; `svg.ts` draws them. */
export interface Chart {
  /** Of its file, without `.svg`. */
  readonly name: string;
  readonly title: string;
  /** What the axes count. */
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
}

export interface Series {
  readonly name: string;
  /** Whether it is ipmasq's. */
  readonly ours: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}
