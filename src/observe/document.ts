import { grouped } from "../system/grouped.ts";
import type { AgentState } from "./agent-state.ts";
import { Html, html } from "./html.ts";
import CLIENT from "./page-client.js" with { type: "text" };
import { STYLE } from "./style.ts";

/** The browser runs only the page's own script and style, which loads only other pages of the agent. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": [
    "default-src 'none'",
    `style-src 'sha256-${digest(STYLE)}'`,
    `script-src 'sha256-${digest(CLIENT)}'`,
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
};

/** The maximum number of rows of a list. */
export const MOST_ROWS = 500;

/** A page of the agent. */
export function document({ build, node, source }: AgentState, main: Html, script = ""): string {
  const { version, commit } = build;
  const docs =
    source &&
    html`<li><a href="${source}/blob/${commit.replace("-dirty", "")}/docs/troubleshooting.md">Docs</a></li>`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${node}: ipmasq</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<header><h1>${node}</h1> <p>ipmasq ${version} (${commit})</p>
<nav aria-label="Pages"><ul><li><a href="./">Status</a></li><li><a href="connections">Live connections</a></li><li><a href="metrics">Metrics</a></li><li><a href="status">JSON</a></li>${docs ?? []}</ul></nav>
</header>
<main>
${main}
</main>
${script === "" ? [] : html`<script>${new Html(script)}</script>`}
</body>
</html>
`.text;
}

/** A part of the page that the script replaces when it changes. */
export function live(id: string, content: Html | readonly (Html | readonly Html[])[], role = ""): Html {
  return html`<div id="${id}" data-live${role === "" ? [] : html` role="${role}"`}>
${content}
</div>`;
}

/** Names and values. */
export function facts(of: Readonly<Record<string, string>>): Html | [] {
  const rows = Object.entries(of).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>\n`);
  return rows.length > 0 ? html`<dl>\n${rows}</dl>` : [];
}

/** The number of rows that a list leaves out. */
export function more(rows: number, most = MOST_ROWS): Html | [] {
  return rows > most ? html`<p>and ${grouped(rows - most)} more</p>` : [];
}

export function capitalized(label: string): string {
  return label.charAt(0).toUpperCase() + label.slice(1);
}

function digest(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("base64");
}
