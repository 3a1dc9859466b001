import { conflictText, defeatedText, effectText, harmfulOf, remedyText } from "../conflicts/conflict.ts";
import { headlineOf } from "../inspect/headline.ts";
import type { Status } from "../inspect/status.ts";
import { formatDuration } from "../net/duration.ts";
import { describePolicy } from "../policy/describe.ts";
import { grouped } from "../system/grouped.ts";
import type { AgentState } from "./agent-state.ts";
import { capitalized, document, facts, live, MOST_ROWS, more } from "./document.ts";
import { graph, rateText } from "./graph.ts";
import { type Html, html } from "./html.ts";
import { cidrSections } from "./page-cidrs.ts";
import CLIENT from "./page-client.js" with { type: "text" };
import { statusHead } from "./status-report.ts";

/**
 * The status page: the headline of `status`, then problems and conflicts, connections and their rates, CIDRs, policy,
 * agent, and the last syncs. Parts marked as live are refreshed by the script.
 */
export async function statusPage(state: AgentState): Promise<string> {
  state.recordCounts(performance.now());
  const status = await statusHead(state);
  const { policy } = state;
  return document(
    state,
    html`${live("headline", headline(status), "status")}
<p id="notice" class="state bad" role="alert" hidden>The agent does not answer. This is its last answer:</p>
${live("problems", [problemSection(status), conflictSection(status)])}
${live("connections", connectionSection(status, state))}
${policy ? cidrSections(policy, state.totals.of) : []}
${live("policy", [policySection(status), agentSection(status, state), syncSection(state)])}`,
    CLIENT,
  );
}

const MARKS = { good: "✓", warn: "!", bad: "✗" };

function headline(status: Omit<Status, "cidrs">): Html {
  const { level, inForce, overruled, problems } = headlineOf(status);
  const answers = { "In force": inForce, Overruled: overruled, Problems: problems };
  return html`<div class="state ${level}"><span class="mark" aria-hidden="true">${MARKS[level]}</span>
${facts(answers)}</div>`;
}

/** The headline has the only problem. */
function problemSection({ problems, configRejected, notes = [] }: Omit<Status, "cidrs">): Html[] {
  const listed = problems.length > 1 || configRejected ? problems : [];
  return [list("Problems", listed), list("Notes", notes)].flat();
}

function list(title: string, texts: readonly string[]): Html | [] {
  if (texts.length === 0) return [];
  return html`<section>
<h2>${title}</h2>
<ul>
${texts.slice(0, MOST_ROWS).map(it => html`<li>${it}</li>\n`)}</ul>
${more(texts.length)}
</section>`;
}

function conflictSection({ conflicts }: Omit<Status, "cidrs">): Html | [] {
  const harmful = harmfulOf(conflicts);
  const defeated = defeatedText(conflicts);
  if (harmful.length === 0 && defeated === undefined) return [];
  const items = harmful
    .slice(0, MOST_ROWS)
    .map(
      it =>
        html`<li><code>${conflictText(it)}</code><br>Effect: ${effectText(it)}<br>Remedy: ${remedyText(it)}</li>\n`,
    );
  const held = defeated && html`<p>Defeated by <code>enforceNonMasquerade</code>: ${defeated}</p>`;
  return html`<section>
<h2>Conflicts</h2>
${harmful.length > 0 ? html`<p>Foreign NAT rules that contradict the policy:</p>\n<ul>\n${items}</ul>` : []}
${more(harmful.length)}
${held ?? []}
</section>`;
}

function connectionSection({ conntrack, leaks }: Omit<Status, "cidrs">, state: AgentState): Html {
  const { keep, masquerade } = state.totals.byVerdict;
  const rate = state.history.current;
  const row = (verdict: "keep" | "masquerade", name: string, counted: typeof keep) =>
    html`<tr><td><span class="key ${verdict}" aria-hidden="true"></span>${name}</td><td class="n" data-label="Connections">${grouped(counted.connections)}</td><td class="n" data-label="Per second">${rate ? rateText(rate[verdict]) : "–"}</td></tr>
`;
  return html`<section>
<h2>Connections</h2>
<table class="cards">
<thead><tr><th>Verdict</th><th class="n">Connections</th><th class="n">Per second</th></tr></thead>
<tbody>
${row("masquerade", "Masqueraded", masquerade)}${row("keep", "Kept", keep)}</tbody>
</table>
${rate ? graph(state.history.rates) : html`<p>Rates appear after the second look at the counters.</p>`}
${facts({
  ...(conntrack && {
    Conntrack: `${grouped(conntrack.entries)} of ${grouped(conntrack.limit)} entries (${Math.round((100 * conntrack.entries) / conntrack.limit)} %)`,
  }),
  ...(leaks && {
    "Dropped leaks": `${grouped(leaks.reduce((sum, { packets }) => sum + packets, 0))} packets`,
  }),
})}
</section>`;
}

function policySection({ policy }: Omit<Status, "cidrs">): Html | [] {
  if (!policy) return [];
  const all = describePolicy(policy).map(({ label, text }) => [capitalized(label), text]);
  return html`<section>
<h2>Policy</h2>
${facts(Object.fromEntries(all))}
</section>`;
}

function agentSection({ reason, why }: Omit<Status, "cidrs">, state: AgentState): Html {
  const { startedAt, backend, config, interval, lastSuccess } = state;
  return html`<section>
<h2>Agent</h2>
${facts({
  Backend: backend ? `${backend.backend}, written by ${backend.writer}` : "none yet",
  Reason: reason ?? why ?? "",
  Config: config?.path ?? "not read yet",
  "Config hash": config?.digest.slice(0, 12) || "none",
  "Resync interval": formatDuration(interval),
  "Last successful sync": lastSuccess === undefined ? "none yet" : time(lastSuccess),
  Started: time(startedAt),
})}
</section>`;
}

function syncSection({ syncs: all }: AgentState): Html | [] {
  if (all.length === 0) return [];
  const rows = all.toReversed().map(
    ({ at, trigger, result, seconds, message }) =>
      html`<tr><td>${time(at)}</td><td data-label="Trigger">${trigger}</td><td data-label="Result">${result}</td><td class="n" data-label="Duration">${Math.round(
        1000 * seconds,
      )} ms</td><td data-label="Details">${message ?? ""}</td></tr>
`,
  );
  return html`<section>
<h2>Last syncs</h2>
<table class="cards">
<thead><tr><th>Time</th><th>Trigger</th><th>Result</th><th class="n">Duration</th><th>Details</th></tr></thead>
<tbody>
${rows}</tbody>
</table>
</section>`;
}

function time(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
