import type { Chart, Series } from "./chart.ts";
import { number } from "./figure.ts";

const [WIDTH, HEIGHT] = [860, 420];
/** What surrounds the plot: room for the names of the series is on the right. */
const PLOT = { left: 76, top: 48, right: 230, bottom: 52 };
const X = { from: PLOT.left, to: WIDTH - PLOT.right };
const Y = { from: HEIGHT - PLOT.bottom, to: PLOT.top };

/** Ours are drawn thick, others thin; each colour is readable on white and on black. */
const OURS = ["#2f81f7", "#8957e5", "#1f9d8b"];
const OTHERS = ["#8b949e", "#bf8700", "#cf4a4a", "#a0785a", "#c04bb0", "#6e8b3d", "#d4743b"];

/** Colours by the names of series, the same in all charts. */
export function coloursOf(charts: readonly Chart[]): ReadonlyMap<string, string> {
  const series = charts.flatMap(chart => chart.series);
  const palette = (colours: readonly string[], ours: boolean) => {
    const names = new Set(series.filter(it => it.ours === ours).map(({ name }) => name));
    return Array.from(names, (name, i): [string, string] => [name, colours[i % colours.length] ?? ""]);
  };
  return new Map([...palette(OURS, true), ...palette(OTHERS, false)]);
}

/** Draws a chart with logarithmic axes, for light and for dark pages. */
export function svg(chart: Chart, colours: ReadonlyMap<string, string>): string {
  const points = chart.series.flatMap(({ points }) => points);
  const x = scale(
    points.map(point => point.x),
    X,
  );
  const y = scale(
    points.map(point => point.y),
    Y,
  );
  const coloured = chart.series
    .toSorted((a, b) => Number(b.ours) - Number(a.ours))
    .map((series): Painted => ({ series, colour: colours.get(series.name) ?? "" }));
  const names = spaced(
    coloured.map(({ series, colour }) => ({ series, colour, at: y.place(series.points.at(-1)?.y ?? 1) })),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12">
<style>text { fill: #57606a } .grid { stroke: #8b949e; stroke-opacity: .25 } @media (prefers-color-scheme: dark) { text { fill: #adbac7 } }</style>
<text x="${X.from}" y="22" font-size="15">${escaped(chart.title)}</text>
${y.ticks.map(tick => line(X.from, y.place(tick), X.to, y.place(tick)) + text(X.from - 8, y.place(tick) + 4, number(tick), "end")).join("\n")}
${x.ticks.map(tick => line(x.place(tick), Y.from, x.place(tick), Y.to) + text(x.place(tick), Y.from + 18, number(tick), "middle")).join("\n")}
${text((X.from + X.to) / 2, HEIGHT - 12, chart.x, "middle")}
${text(X.from - 8, PLOT.top - 10, chart.y, "end")}
${coloured
  .toReversed()
  .map(({ series, colour }) => curve(series, colour, x, y))
  .join("\n")}
${names.map(({ series, colour, at }) => named(series, colour, at)).join("\n")}
</svg>
`;
}

interface Scale {
  readonly ticks: readonly number[];
  place(value: number): number;
}

/** From the power of ten below the smallest value to the one above the largest. */
function scale(values: readonly number[], { from, to }: { from: number; to: number }): Scale {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(Math.ceil(Math.log10(Math.max(...values))), low + 1);
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
    place: value => round(from + ((Math.log10(value) - low) / (high - low)) * (to - from)),
  };
}

interface Painted {
  readonly series: Series;
  readonly colour: string;
}

/** Moves names apart that would lie on each other. */
function spaced<T extends { at: number }>(names: readonly T[]): T[] {
  let lowest = 0;
  return names
    .toSorted((a, b) => a.at - b.at)
    .map(name => {
      lowest = Math.max(name.at, lowest + 15);
      return { ...name, at: lowest };
    });
}

function curve({ points, ours }: Series, colour: string, x: Scale, y: Scale): string {
  const at = points.map(point => `${x.place(point.x)},${y.place(point.y)}`);
  const style = `stroke="${colour}" stroke-width="${ours ? 3 : 1.5}" fill="none"`;
  const dots = at.map(place => {
    const [cx, cy] = place.split(",");
    return `<circle cx="${cx}" cy="${cy}" r="${ours ? 4 : 3}" fill="${colour}"/>`;
  });
  return `<polyline points="${at.join(" ")}" ${style}/>${dots.join("")}`;
}

function named({ name, ours }: Series, colour: string, at: number): string {
  const weight = ours ? ' font-weight="600"' : "";
  return `<circle cx="${X.to + 16}" cy="${at}" r="4" fill="${colour}"/><text x="${X.to + 26}" y="${at + 4}"${weight}>${escaped(name)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  return `<line class="grid" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;
}

function text(x: number, y: number, said: string, anchor: "middle" | "end"): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(said)}</text>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function round(value: number): number {
  return Math.round(10 * value) / 10;
}
