/** The style sheet of the status page: wide screens and phones, light and dark. */
export const STYLE = `
:root { color-scheme: light dark; --line: #d0d7de; --faint: #57606a; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --faint: #9198a1; --good: #3fb950; --bad: #f85149; }
}
body { margin: 0 auto; max-width: 64rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
header { display: flex; align-items: baseline; gap: 0.75rem; }
header p { margin: 0; color: var(--faint); overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2rem 0 0.5rem; font-size: 1.125rem; }
.state { margin: 1rem 0; padding: 0.5rem 0.75rem; border-left: 0.25rem solid; overflow-wrap: anywhere; }
.good { border-color: var(--good); }
.bad { border-color: var(--bad); }
.wide { overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.125rem 1rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 0.25rem 1rem 0.25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: normal; }
td { white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; white-space: normal; min-width: 11rem; }
.wrap td { white-space: normal; min-width: 6rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font-family: ui-monospace, monospace; }
@media (max-width: 40rem) {
  th, td { padding-right: 0.5rem; font-size: 0.8125rem; }
}
`;
