import { formatProblems } from "../config/problem.ts";
import { defeatedText, effectText } from "../conflicts/conflict.ts";
import type { Counted, CountOf } from "../inspect/status.ts";
import type { Cidr } from "../net/cidr.ts";
import { formatDuration } from "../net/duration.ts";
import { describePolicy, summarizePolicy } from "../policy/describe.ts";
import {
  type CidrList,
  type Entry,
  type FamilyPolicy,
  formatOrigin,
  listsOf,
  type Policy,
} from "../policy/policy.ts";
import { grouped } from "../system/grouped.ts";
import type { AgentState, ConfigRecord } from "./agent-state.ts";
import { capitalized, document, facts, MOST_ROWS, more } from "./document.ts";
import { type Html, html } from "./html.ts";

/** The status page: whether the policy is in force, the policy with its counters, conflicts, and the last syncs. */
export function statusPage(state: AgentState): string {
  const { policy, build } = state;
  return document(
    build,
    html`${headline(state)}
${state.config ? problems(state.config) : []}
<section>
<h2>Agent</h2>
${agent(state)}
</section>
${policy ? policySections(policy, state) : []}
${conflictSection(state)}
${syncs(state)}`,
  );
}

function headline({ unready, config, contested }: AgentState): Html {
  if (unready !== undefined)
    return html`<p class="state bad"><strong>Policy not in force:</strong> ${unready}</p>`;
  if (config && !config.ok) {
    return html`<p class="state bad"><strong>Config rejected.</strong> The last good policy stays in force.</p>`;
  }
  if (contested) {
    return html`<p class="state bad"><strong>Policy in force, but contested:</strong> another program keeps changing the rules.</p>`;
  }
  return html`<p class="state good"><strong>Policy in force.</strong> The kernel has all its rules.</p>`;
}

function problems({ problems: all }: ConfigRecord): Html | [] {
  if (all.length === 0) return [];
  const items = formatProblems(all).map(it => html`<li>${it}</li>\n`);
  return html`<section>
<h2>Config problems</h2>
<ul>
${items}</ul>
</section>`;
}

function agent({ startedAt, backend, config, interval, lastSuccess, unready }: AgentState): Html {
  return facts({
    Backend: backend ? `${backend.backend}, written by ${backend.writer}` : "none yet",
    Reason: backend?.reason ?? unready ?? "",
    Config: config?.path ?? "not read yet",
    "Config hash": config?.digest.slice(0, 12) || "none",
    "Resync interval": formatDuration(interval),
    "Last successful sync": lastSuccess === undefined ? "none yet" : time(lastSuccess),
    Started: time(startedAt),
  });
}

function policySections(policy: Policy, { totals }: AgentState): Html {
  const { keep, masquerade, drop } = totals.byVerdict;
  return html`<section>
<h2>Policy</h2>
${facts({
  ...Object.fromEntries(
    describePolicy(summarizePolicy(policy)).map(({ label, text }) => [capitalized(label), text]),
  ),
  Masqueraded: `${grouped(masquerade.connections)} connections`,
  Kept: `${grouped(keep.connections)} connections`,
  ...(policy.dropLeaks && { "Dropped leaks": `${grouped(drop.connections)} packets` }),
})}
<p><a href="connections">Live connections</a> by destination, and those that contradict the policy.</p>
</section>
${policy.families.map(family => familySection(family, totals.of))}`;
}

function familySection(policy: FamilyPolicy, counted: CountOf): Html {
  const { family } = policy;
  const lists = listsOf(policy).map(({ list, of, effect }): CidrRows => {
    if (of === "destination" && effect !== "require") {
      return { list, verdict: effect, count: cidr => counted(family, effect, cidr) };
    }
    const verdict = effect === "keep" ? `${of} that is never masqueraded` : `${of} that may be masqueraded`;
    return { list, verdict, count: () => undefined };
  });
  const rows = lists.reduce((sum, { list }) => sum + list.effective.length + list.redundant.length, 0);
  const rest = row(html`all other destinations`, "masquerade", "", counted(family, "masquerade"));
  return html`<section>
<h2>${family === "ip" ? "IPv4" : "IPv6"}</h2>
<div class="wide"><table>
<thead><tr><th>CIDR</th><th>Verdict</th><th class="n">Connections</th><th class="n">Bytes</th><th>Defined in</th></tr></thead>
<tbody>
${[...firstRows(lists)]}${rest}</tbody>
</table></div>
${more(rows)}
</section>
`;
}

interface CidrRows {
  readonly list: CidrList;
  readonly verdict: string;
  readonly count: (cidr: Cidr) => Counted | undefined;
}

/** The first rows. Other rows are never rendered. */
function* firstRows(lists: readonly CidrRows[]): Generator<Html> {
  let left = MOST_ROWS;
  for (const { list, verdict, count: counted } of lists) {
    for (const it of list.effective) {
      if (left-- <= 0) return;
      yield row(html`<code>${it.cidr.text}</code>`, verdict, origin(it), counted(it.cidr));
    }
    for (const { item, by } of list.redundant) {
      if (left-- <= 0) return;
      const redundant = `${verdict} (redundant, inside ${by.cidr.text})`;
      yield row(html`<code>${item.cidr.text}</code>`, redundant, origin(item), undefined);
    }
  }
}

function origin({ origin: from }: Entry): string {
  return formatOrigin(from);
}

function row(cidr: Html, verdict: string, from: string, counter: Counted | undefined): Html {
  const numbers = counter ? [grouped(counter.connections), grouped(counter.bytes)] : ["–", "–"];
  return html`<tr><td>${cidr}</td><td>${verdict}</td>${numbers.map(
    it => html`<td class="n">${it}</td>`,
  )}<td>${from}</td></tr>
`;
}

function conflictSection({ conflicts }: AgentState): Html | [] {
  const harmful = conflicts.filter(({ harmless }) => !harmless);
  const defeated = defeatedText(conflicts);
  const held =
    defeated === undefined ? [] : html`<p>Defeated by <code>enforceNonMasquerade</code>: ${defeated}</p>`;
  if (harmful.length === 0)
    return defeated === undefined ? [] : html`<section>\n<h2>Conflicts</h2>\n${held}\n</section>`;
  const rows = harmful
    .slice(0, MOST_ROWS)
    .map(
      it =>
        html`<tr><td>${it.owner}</td><td><code>${it.rule}</code></td><td>${effectText(it)}</td><td>${it.remedy}</td></tr>\n`,
    );
  return html`<section>
<h2>Conflicts</h2>
<p>Foreign NAT rules that contradict the policy:</p>
<div class="wide"><table class="wrap">
<thead><tr><th>Owner</th><th>Rule</th><th>Effect</th><th>Remedy</th></tr></thead>
<tbody>
${rows}</tbody>
</table></div>
${more(harmful.length)}
${held}
</section>`;
}

function syncs({ syncs: all }: AgentState): Html {
  const rows = all.toReversed().map(
    ({ at, trigger, result, seconds, message }) =>
      html`<tr><td>${time(at)}</td><td>${trigger}</td><td>${result}</td><td class="n">${Math.round(
        1000 * seconds,
      )} ms</td><td>${message ?? ""}</td></tr>
`,
  );
  return html`<section>
<h2>Last syncs</h2>
<div class="wide"><table>
<thead><tr><th>Time</th><th>Trigger</th><th>Result</th><th class="n">Duration</th><th>Details</th></tr></thead>
<tbody>
${rows}</tbody>
</table></div>
</section>`;
}

function time(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
