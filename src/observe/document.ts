import { grouped } from "../system/grouped.ts";
import type { Build } from "./agent-state.ts";
import { type Html, html } from "./html.ts";
import { STYLE } from "./style.ts";

/** The browser runs no scripts in the page, and loads only the page's own style. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": `default-src 'none'; style-src 'sha256-${digest(STYLE)}'`,
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
};

/** The maximum number of rows of a list. */
export const MOST_ROWS = 500;

/** A page of the agent. */
export function document({ version, commit }: Build, main: Html): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ipmasq</title>
<style>${STYLE}</style>
</head>
<body>
<header><h1>ipmasq</h1> <p>${version} (${commit})</p></header>
<main>
${main}
</main>
</body>
</html>
`.text;
}

/** Names and values. */
export function facts(of: Readonly<Record<string, string>>): Html {
  return html`<dl>
${Object.entries(of).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>\n`)}</dl>`;
}

/** The number of rows that a list leaves out. */
export function more(rows: number): Html | [] {
  return rows > MOST_ROWS ? html`<p>and ${grouped(rows - MOST_ROWS)} more</p>` : [];
}

export function capitalized(label: string): string {
  return label.charAt(0).toUpperCase() + label.slice(1);
}

function digest(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("base64");
}
