/** The picture of a terminal, for pages with a light or a dark background. */

/** Matches a part of a line, and paints it. */
type Paint = readonly [pattern: RegExp, colour: string];

const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';
/** Sizes in pixels; a character of these fonts is at most 0.61 times as wide as high. */
const [SIZE, LINE, MARGIN, BAR] = [13, 19, 18, 34];
const WIDTH_OF_CHARACTER = 0.61 * SIZE;
const [BACKGROUND, BORDER, TEXT] = ["#161b22", "#444c56", "#c9d1d9"];

/**
 * Draws lines of text as SVG.
 *
 * @param title the title of the window, also for screen readers
 * @param paints the first that matches a part of a line paints it
 */
export function terminal(title: string, lines: readonly string[], paints: readonly Paint[]): string {
  const columns = Math.max(...lines.map(line => line.length));
  const width = Math.ceil(columns * WIDTH_OF_CHARACTER) + 2 * MARGIN;
  const height = BAR + lines.length * LINE + MARGIN;
  const texts = lines.flatMap((line, i) => {
    const y = BAR + (i + 1) * LINE;
    return line === "" ? [] : [`<text x="${MARGIN}" y="${y}">${painted(line, paints)}</text>`];
  });
  const lights = ["#ff5f57", "#febc2e", "#28c840"].map(
    (colour, i) => `<circle cx="${MARGIN + 2 + 18 * i}" cy="17" r="5.5" fill="${colour}"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" xml:space="preserve" role="img" font-family='${FONT}' font-size="${SIZE}">
<title>${escaped(title)}</title>
<style>text { white-space: pre; fill: ${TEXT} }</style>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="9" fill="${BACKGROUND}" stroke="${BORDER}"/>
${lights.join("")}<text x="${width / 2}" y="21" text-anchor="middle" opacity="0.7">${escaped(title)}</text>
${texts.join("\n")}
</svg>
`;
}

function painted(line: string, paints: readonly Paint[]): string {
  for (const [pattern, colour] of paints) {
    const match = pattern.exec(line);
    if (match === null) continue;
    const end = match.index + match[0].length;
    const middle = `<tspan style="fill:${colour}">${escaped(match[0])}</tspan>`;
    return `${escaped(line.slice(0, match.index))}${middle}${painted(line.slice(end), paints)}`;
  }
  return escaped(line);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
