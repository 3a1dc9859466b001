/** The style sheet of the pages: wide screens and phones, light and dark. Colours have a contrast of 4.5 or more. */
export const STYLE = `
:root {
  color-scheme: light dark; --paper: #fff; --ink: #1f2328; --line: #d0d7de; --faint: #57606a; --link: #0550ae;
  --good: #1a7f37; --warn: #8a5a00; --bad: #cf222e;
  --good-paper: #e9f7ec; --warn-paper: #fff5d6; --bad-paper: #ffebe9; --masquerade: #0550ae; --keep: #8250df;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0d1117; --ink: #e6edf3; --line: #3d444d; --faint: #9198a1; --link: #79c0ff;
    --good: #3fb950; --warn: #d29922; --bad: #ff7b72;
    --good-paper: #10251a; --warn-paper: #2b2410; --bad-paper: #331a1c; --masquerade: #79c0ff; --keep: #d2a8ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
a { color: var(--link); }
:focus-visible { outline: 0.125rem solid var(--link); outline-offset: 0.125rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 0.75rem; }
header p { margin: 0; color: var(--faint); }
nav { margin-left: auto; }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: 0; padding: 0; list-style: none; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2rem 0 0.5rem; font-size: 1.125rem; }
ul { margin: 0; padding-left: 1.25rem; }
li { margin: 0.25rem 0; }
.state { display: flex; gap: 0.75rem; margin: 1rem 0; padding: 0.75rem; border-left: 0.375rem solid; border-radius: 0.25rem; }
.state dd:first-of-type { font-weight: bold; }
.mark { font-size: 1.5rem; line-height: 1; font-weight: bold; }
.state dt { color: inherit; }
.good { border-color: var(--good); background: var(--good-paper); }
.warn { border-color: var(--warn); background: var(--warn-paper); }
.bad { border-color: var(--bad); background: var(--bad-paper); }
.good .mark { color: var(--good); }
.warn .mark { color: var(--warn); }
.bad .mark { color: var(--bad); }
[hidden] { display: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.125rem 1rem; margin: 0; }
dt { color: var(--faint); }
dd, li, p, td:last-child { overflow-wrap: anywhere; }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 0.25rem 1rem 0.25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: normal; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
td:first-child { white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-family: ui-monospace, monospace; font-size: 0.9375em; }
form { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem; margin: 0.5rem 0; }
input, select, button { font: inherit; padding: 0.125rem 0.5rem; max-width: 100%; }
output { color: var(--faint); }
figure { margin: 1rem 0; }
svg { display: block; width: 100%; height: 6rem; border-bottom: 1px solid var(--line); }
path { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
path.masquerade { stroke: var(--masquerade); }
path.keep { stroke: var(--keep); stroke-dasharray: 6 3; }
figcaption { display: flex; justify-content: space-between; color: var(--faint); font-size: 0.875rem; }
.key { display: inline-block; width: 1.25rem; margin-right: 0.5rem; border-top: 0.1875rem solid; vertical-align: middle; }
.key.masquerade { border-color: var(--masquerade); }
.key.keep { border-color: var(--keep); border-top-style: dashed; }
@media (max-width: 40rem) {
  nav { margin-left: 0; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.375rem; }
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards tr { display: block; padding: 0.375rem 0; border-bottom: 1px solid var(--line); }
  .cards td { display: inline-block; margin-right: 1rem; padding: 0; border: 0; text-align: left; }
  .cards td:first-child { display: block; margin: 0; font-weight: bold; white-space: normal; }
  .cards td[data-label]::before { content: attr(data-label) " "; color: var(--faint); }
  .cards td:empty { display: none; }
}
`;
