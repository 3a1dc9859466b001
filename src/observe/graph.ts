import { grouped } from "../system/grouped.ts";
import type { Rate } from "./history.ts";
import { type Html, html } from "./html.ts";

const WIDTH = 600;
const HEIGHT = 100;
const HOUR = 3_600_000;

/** Connections per second in the last hour, as a picture with a description for screen readers. */
export function graph(rates: readonly Rate[]): Html {
  const peak = Math.max(...rates.flatMap(({ keep, masquerade }) => [keep, masquerade]));
  const about = `Connections per second in the last hour; at most ${rateText(peak)}.`;
  const path = (verdict: "keep" | "masquerade") => stepsOf(rates, it => (peak > 0 ? it[verdict] / peak : 0));
  return html`<figure>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${about}">
<path class="masquerade" d="${path("masquerade")}"/>
<path class="keep" d="${path("keep")}"/>
</svg>
<figcaption><span>60 min ago</span><span>at most ${rateText(peak)} per second</span><span>now</span></figcaption>
</figure>`;
}

/** A rate with as many digits as are useful. */
export function rateText(rate: number): string {
  return rate >= 10 ? grouped(Math.round(rate)) : rate.toFixed(1);
}

/** @param heightOf between 0 and 1 */
function stepsOf(rates: readonly Rate[], heightOf: (rate: Rate) => number): string {
  const x = (before: number) => Math.round(WIDTH * (1 - before / HOUR));
  const steps = rates.map((it, i) => {
    const y = Math.round((HEIGHT - 2) * (1 - heightOf(it))) + 1;
    return `${i === 0 ? "M" : "L"}${x(it.from)} ${y}H${x(it.to)}`;
  });
  return steps.join("");
}
