import type { Connections } from "../inspect/connections.ts";
import { summary } from "../inspect/connections-text.ts";
import { FAMILY_NAMES } from "../net/cidr.ts";
import { formatOrigin } from "../policy/policy.ts";
import { grouped } from "../system/grouped.ts";
import { ProgramError } from "../system/program.ts";
import type { AgentState } from "./agent-state.ts";
import { capitalized, document, facts, MOST_ROWS, more } from "./document.ts";
import { type Html, html } from "./html.ts";

/** The page of live connections. Reads the conntrack table. */
export async function connectionsPage(state: AgentState): Promise<string> {
  return document(
    state,
    html`<section>
<h2>Live connections</h2>
${await section(state)}
</section>`,
  );
}

async function section({ policy, conflicts, unread }: AgentState): Promise<Html> {
  if (!policy) return html`<p>There is no policy yet.</p>`;
  const { MOST_ENTRIES, readConntrack } = await import("../inspect/conntrack.ts");
  const { entries = 0, limit = 0 } = (await readConntrack()) ?? {};
  if (entries >= MOST_ENTRIES) {
    return html`<p>The conntrack table has ${grouped(entries)} entries; run <code>ipmasq connections</code> on the node.</p>`;
  }
  const { ConnectionTally } = await import("../inspect/connections.ts");
  const { eachConnection, judgeFor } = await import("../inspect/live-connections.ts");
  const judge = await judgeFor(policy, conflicts);
  const tally = new ConnectionTally(judge);
  try {
    await eachConnection(policy, judge, (entry, judgement) => tally.add(entry, judgement));
  } catch (error) {
    if (error instanceof ProgramError) return html`<p>The conntrack table was not read: ${error.message}</p>`;
    throw error;
  }
  return connectionsSection({
    policyFrom: "agent",
    judgedBy: "the policy of this agent",
    table: { entries, limit },
    ...tally.counts,
    ...(unread.length > 0 && { unread: [...unread] }),
  });
}

const NUMBERS = ["Kept", "Masqueraded", "Node", "TCP", "UDP", "Other", "Stale"];

/** The connections by destination. */
export function connectionsSection(connections: Connections): Html {
  const { cidrs, table } = connections;
  const rows = cidrs.slice(0, MOST_ROWS).map(
    it => html`<tr><td>${it.cidr === undefined ? `all other ${FAMILY_NAMES[it.family]}` : html`<code>${it.cidr}</code>`}</td><td data-label="Verdict">${it.verdict}</td>${[
      it.kept,
      it.masqueraded,
      it.node,
      it.tcp,
      it.udp,
      it.other,
      it.stale,
    ].map(
      (number, i) => html`<td class="n" data-label="${NUMBERS[i] ?? ""}">${grouped(number)}</td>`,
    )}<td data-label="Defined in">${it.origin ? formatOrigin(it.origin) : ""}</td></tr>
`,
  );
  return html`${facts({
    ...(table && { Conntrack: `${grouped(table.entries)} of ${grouped(table.limit)} entries` }),
    ...Object.fromEntries(summary(connections).map(([label, text]) => [capitalized(label), text])),
  })}
<table class="cards">
<thead><tr><th>CIDR</th><th>Verdict</th>${NUMBERS.map(it => html`<th class="n">${it}</th>`)}<th>Defined in</th></tr></thead>
<tbody>
${rows}</tbody>
</table>
${more(cidrs.length)}`;
}
