import type { Counted, CountOf } from "../inspect/status.ts";
import { FAMILY_NAMES } from "../net/cidr.ts";
import type { Verdict } from "../net/verdict.ts";
import { type CidrList, type Entry, type FamilyPolicy, formatOrigin, type Policy } from "../policy/policy.ts";
import { grouped } from "../system/grouped.ts";
import { live, more } from "./document.ts";
import { type Html, html } from "./html.ts";

/** Rows of the page. The script searches all of them, and shows more. */
const MOST_CIDRS = 50;
/** Redundant CIDRs in the folded list. */
const MOST_REDUNDANT = 500;

/** The CIDRs of each family with their counts. */
export function cidrSections({ families }: Policy, counted: CountOf): Html[] {
  return families.map(it => familySection(it, counted));
}

function familySection({ family, masquerade, nonMasquerade }: FamilyPolicy, counted: CountOf): Html {
  const lists: readonly (readonly [Verdict, CidrList])[] = [
    ["masquerade", masquerade],
    ["keep", nonMasquerade],
  ];
  const rows = lists
    .flatMap(([verdict, list]) => list.effective.slice(0, MOST_CIDRS).map(it => [verdict, it] as const))
    .slice(0, MOST_CIDRS)
    .map(([verdict, it]) =>
      row(html`<code>${it.cidr.text}</code>`, verdict, counted(family, verdict, it.cidr), origin(it)),
    );
  const rest = row(html`all other destinations`, "masquerade", counted(family, "masquerade"), "");
  const all = lists.reduce((sum, [, list]) => sum + list.effective.length, 0);
  const name = FAMILY_NAMES[family];
  return html`<section>
<h2>${name} CIDRs</h2>
${all > MOST_CIDRS ? controls(family, name, all) : []}
<table id="cidrs-${family}" class="cards">
<thead><tr><th>CIDR</th><th>Verdict</th><th class="n">Connections</th><th class="n">Bytes</th><th>Defined in</th></tr></thead>
<tbody id="rows-${family}" data-live>
${rows}</tbody>
<tfoot id="rest-${family}" data-live>
${rest}</tfoot>
</table>
${all > MOST_CIDRS ? html`<p><button id="more-${family}" type="button" hidden>Show more</button></p>` : []}
${live(`redundant-${family}`, redundant(lists))}
</section>
`;
}

/** Without the script, they stay hidden. */
function controls(family: string, name: string, all: number): Html {
  return html`<form data-family="${family}" data-table="cidrs-${family}" aria-label="${name} CIDRs" hidden>
<label>Search <input type="search" name="search" placeholder="CIDR, address or file" autocomplete="off"></label>
<label>Sort by <select name="order">
<option value="policy">policy order</option>
<option value="cidr">CIDR</option>
<option value="verdict">verdict</option>
<option value="connections">connections</option>
<option value="bytes">bytes</option>
<option value="origin">defined in</option>
</select></label>
<output>${MOST_CIDRS} of ${grouped(all)} shown</output>
</form>`;
}

function redundant(lists: readonly (readonly [Verdict, CidrList])[]): Html | [] {
  const all = lists.flatMap(([, list]) => list.redundant.slice(0, MOST_REDUNDANT));
  const count = lists.reduce((sum, [, list]) => sum + list.redundant.length, 0);
  if (count === 0) return [];
  const items = all
    .slice(0, MOST_REDUNDANT)
    .map(
      ({ item, by }) =>
        html`<li><code>${item.cidr.text}</code> (${origin(item)}) is inside <code>${by.cidr.text}</code></li>\n`,
    );
  return html`<details>
<summary>${grouped(count)} redundant</summary>
<ul>
${items}</ul>
${more(count, MOST_REDUNDANT)}
</details>`;
}

function origin({ origin: from }: Entry): string {
  return formatOrigin(from);
}

function row(cidr: Html, verdict: string, counter: Counted | undefined, from: string): Html {
  const number = (label: string, value: number | undefined) =>
    html`<td class="n" data-label="${label}">${value === undefined ? "–" : grouped(value)}</td>`;
  return html`<tr><td>${cidr}</td><td data-label="Verdict">${verdict}</td>${number("Connections", counter?.connections)}${number("Bytes", counter?.bytes)}<td data-label="Defined in">${from}</td></tr>
`;
}
