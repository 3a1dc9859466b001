import { number } from "./figure.ts";

/** Curves over two logarithmic axes. */
export interface Chart {
  /** The name of the file, without `.svg`. */
  readonly name: string;
  readonly title: string;
  /** The units of the axes. */
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
}

interface Series {
  readonly name: string;
  /** Whether it belongs to ipmasq. */
  readonly ours: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

const [WIDTH, HEIGHT] = [860, 420];
/** The right margin has room for the names. */
const [LEFT, TOP, RIGHT, BOTTOM] = [76, 48, WIDTH - 230, HEIGHT - 52];

/** Readable on white and on black. */
const OURS = ["#2f81f7", "#8957e5", "#1f9d8b"];
const OTHERS = ["#8b949e", "#bf8700", "#cf4a4a", "#a0785a", "#c04bb0", "#6e8b3d", "#d4743b"];

/** Draws a chart for light and dark pages. */
export function svg(chart: Chart): string {
  const points = chart.series.flatMap(it => it.points);
  const x = scale(
    points.map(point => point.x),
    LEFT,
    RIGHT,
  );
  const y = scale(
    points.map(point => point.y),
    BOTTOM,
    TOP,
  );
  const [ours, others] = [true, false].map(it => chart.series.filter(series => series.ours === it));
  const painted = [
    ...(ours ?? []).map((series, i) => ({ ...series, colour: OURS[i % OURS.length] ?? "" })),
    ...(others ?? []).map((series, i) => ({ ...series, colour: OTHERS[i % OTHERS.length] ?? "" })),
  ];
  const curves = painted.map(({ colour, ...series }) => {
    const at = series.points.map(point => [x.place(point.x), y.place(point.y)]);
    const line = `<polyline points="${at.join(" ")}" stroke="${colour}" stroke-width="${series.ours ? 3 : 1.5}" fill="none"/>`;
    const dots = at.map(
      ([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="${series.ours ? 4 : 3}" fill="${colour}"/>`,
    );
    return line + dots.join("");
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12">
<style>text { fill: #57606a } .grid { stroke: #8b949e; stroke-opacity: .25 } @media (prefers-color-scheme: dark) { text { fill: #adbac7 } }</style>
<text x="${LEFT}" y="22" font-size="15">${chart.title}</text>
${y.ticks.map(tick => grid(LEFT, y.place(tick), RIGHT, y.place(tick)) + text(LEFT - 8, y.place(tick) + 4, number(tick), "end")).join("\n")}
${x.ticks.map(tick => grid(x.place(tick), BOTTOM, x.place(tick), TOP) + text(x.place(tick), BOTTOM + 18, number(tick), "middle")).join("\n")}
${text((LEFT + RIGHT) / 2, HEIGHT - 12, chart.x, "middle")}
${text(LEFT - 8, TOP - 10, chart.y, "end")}
${curves.toReversed().join("\n")}
${legend(painted, y).join("\n")}
</svg>
`;
}

/** The names beside the ends of their curves, moved apart where they would overlap. */
function legend(series: readonly (Series & { readonly colour: string })[], y: Scale): string[] {
  let lowest = 0;
  return series
    .map(it => ({ ...it, at: y.place(it.points.at(-1)?.y ?? 1) }))
    .sort((a, b) => a.at - b.at)
    .map(it => {
      lowest = Math.max(it.at, lowest + 15);
      const weight = it.ours ? ' font-weight="600"' : "";
      return `<circle cx="${RIGHT + 16}" cy="${lowest}" r="4" fill="${it.colour}"/><text x="${RIGHT + 26}" y="${lowest + 4}"${weight}>${it.name}</text>`;
    });
}

interface Scale {
  readonly ticks: readonly number[];
  place(value: number): number;
}

/** Covers whole powers of ten. */
function scale(values: readonly number[], from: number, to: number): Scale {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(Math.ceil(Math.log10(Math.max(...values))), low + 1);
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
    place: value => Math.round(10 * (from + ((Math.log10(value) - low) / (high - low)) * (to - from))) / 10,
  };
}

function grid(x1: number, y1: number, x2: number, y2: number): string {
  return `<line class="grid" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;
}

function text(x: number, y: number, content: string, anchor: "middle" | "end"): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}">${content}</text>`;
}
