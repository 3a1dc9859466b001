/** The panels of the dashboard as one picture, for pages with a light or a dark background. */
import type { Panel, Row } from "../dashboard.ts";

/** The result of a query over time. */
export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Seconds since the start, and values. */
  readonly points: readonly { readonly at: number; readonly value: number }[];
}

type Answers = ReadonlyMap<string, readonly Series[]>;

const WIDTH = 1080;
const GAP = 10;
/** Heights of a row's title, and of panels by type. */
const [TITLE, HEIGHTS] = [40, { stat: 74, timeseries: 170, table: 84 }] as const;
const IN_A_LINE = { stat: 6, timeseries: 3, table: 1 } as const;
/** Readable on white and on black. */
const COLOURS = ["#2f81f7", "#bf8700", "#8957e5", "#1f9d8b", "#cf4a4a", "#a0785a"];

const STYLE = `
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.row { font-size: 16px; font-weight: 600 } .name { font-weight: 600 } .value { font-size: 30px; font-weight: 600 }
.dim { fill: #59636e; font-size: 11px } .good { fill: #1a7f37 } .bad { fill: #cf222e }
.box { fill: #f6f8fa; stroke: #d1d9e0 } .grid { stroke: #8b949e; stroke-opacity: .3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .dim { fill: #9198a1 } .good { fill: #3fb950 } .bad { fill: #f85149 }
.box { fill: #161b22; stroke: #3d444d } }`;

/** Draws all rows, one below the other. */
export function board(rows: readonly Row[], answers: Answers): string {
  const parts: string[] = [];
  let y = 0;
  for (const row of rows) {
    parts.push(`<text class="row" x="0" y="${y + 26}">${row.title}</text>`);
    y += TITLE;
    let x = 0;
    for (const panel of row.panels) {
      const width = (WIDTH + GAP) / IN_A_LINE[panel.type] - GAP;
      if (x + width > WIDTH + 1) {
        x = 0;
        y += HEIGHTS.timeseries + GAP;
      }
      parts.push(`<g transform="translate(${x} ${y})">${drawn(panel, width, answers)}</g>`);
      x += width + GAP;
    }
    y += HEIGHTS[row.panels.at(-1)?.type ?? "stat"] + GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 0 ${WIDTH + 2} ${y}" role="img">
<title>The panels of the dashboard, with the metrics of a node</title>
<style>${STYLE}
</style>
${parts.join("\n")}
</svg>
`;
}

function drawn(panel: Panel, width: number, answers: Answers): string {
  const series = panel.queries.flatMap(([expr]) => answers.get(expr) ?? []);
  const height = HEIGHTS[panel.type];
  const box = `<rect class="box" width="${width}" height="${height}" rx="5"/>`;
  const title = `<text class="name" x="10" y="19">${panel.title}</text>`;
  const draw = { stat: statOf, timeseries: graphOf, table: tableOf }[panel.type];
  return `${box}${title}${draw(panel, series, width)}`;
}

function statOf({ bad }: Panel, series: readonly Series[], width: number): string {
  const value = series[0]?.points.at(-1)?.value ?? Number.NaN;
  const colour = bad !== undefined && value >= bad ? "bad" : "good";
  return `<text class="value ${colour}" x="${width / 2}" y="58" text-anchor="middle">${value}</text>`;
}

function graphOf(panel: Panel, series: readonly Series[], width: number): string {
  const [left, top, right, bottom] = [56, 32, width - 12, HEIGHTS.timeseries - 34];
  // Curves that stay at 0 would hide the names of the others.
  const moving = series.filter(it => it.points.some(({ value }) => value > 0));
  const shown = moving.length > 0 ? moving : series.slice(0, 1);
  const points = shown.flatMap(it => it.points.filter(({ value }) => Number.isFinite(value)));
  const end = Math.max(1, ...points.map(it => it.at));
  const highest = Math.max(...points.map(it => it.value), 0) || 1;
  const place = ({ at, value }: { at: number; value: number }) => {
    const x = left + ((right - left) * at) / end;
    return `${x.toFixed(1)},${(bottom - ((bottom - top) * value) / highest).toFixed(1)}`;
  };
  const lines = [0, 0.5, 1].map(part => {
    const y = bottom - (bottom - top) * part;
    const tick = `<text class="dim" x="${left - 6}" y="${y + 4}" text-anchor="end">${inUnit(part * highest, panel.unit)}</text>`;
    return `<path class="grid" d="M${left} ${y}H${right}"/>${tick}`;
  });
  const curves = shown.map((it, i) => {
    const places = it.points.filter(({ value }) => Number.isFinite(value)).map(place);
    return `<polyline points="${places.join(" ")}" fill="none" stroke="${colourOf(i)}" stroke-width="1.8"/>`;
  });
  return [...lines, ...curves, ...namesOf(shown, right, bottom + 20)].join("");
}

/** The names of as many curves as fit. */
function namesOf(series: readonly Series[], right: number, y: number): string[] {
  let x = 10;
  return series.flatMap(({ name }, i) => {
    const start = x;
    x += 24 + 6 * name.length;
    if (x > right + 10) return [];
    const dot = `<circle cx="${start + 4}" cy="${y}" r="4" fill="${colourOf(i)}"/>`;
    return [`${dot}<text class="dim" x="${start + 12}" y="${y + 4}">${name}</text>`];
  });
}

function tableOf(_panel: Panel, series: readonly Series[]): string {
  const [build, backend, cidrs] = series;
  const cells = [
    ["node", build?.labels.instance],
    ["version", build?.labels.version],
    ["commit", build?.labels.commit],
    ["backend", backend?.labels.backend],
    ["writer", backend?.labels.writer],
    ["CIDRs", `${cidrs?.points.at(-1)?.value}`],
  ];
  return cells
    .map(([name, value = ""], i) => {
      const x = 10 + (i * WIDTH) / cells.length;
      return `<text class="dim" x="${x}" y="44">${name}</text><text x="${x}" y="66">${value}</text>`;
    })
    .join("");
}

function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length] ?? "";
}

/** A value as Grafana prints its unit. */
function inUnit(value: number, unit = ""): string {
  const short = (number: number) => `${Number(number.toPrecision(2))}`;
  if (unit === "percentunit") return `${short(100 * value)} %`;
  if (unit === "s") return value < 1 ? `${short(1000 * value)} ms` : `${short(value)} s`;
  if (unit === "bytes") return `${short(value / 1e6)} MB`;
  const suffix = { cps: " c/s", pps: " p/s", Bps: " B/s" }[unit] ?? "";
  return `${value >= 1000 ? `${short(value / 1000)}k` : short(value)}${suffix}`;
}
