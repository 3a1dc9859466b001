import { Cidr, type Family } from "../net/cidr.ts";
import { cidrsBetween, difference, every, type Ranges, rangesOf, united } from "../net/ranges.ts";
import { type Conflict, MOST_SHOWN } from "./conflict.ts";
import type { Judged } from "./judged.ts";
import { type Region, within } from "./region.ts";

/** Connections that reach a rule, and how the policy judges their family. */
export interface Caught {
  readonly region: Region;
  readonly judged: Judged;
}

/**
 * For the first CIDRs that a rule exposes, returns the sources that its conditions or earlier rules leave out.
 *
 * @param exposed the exposed CIDRs of the policy
 * @param sources CIDRs that the rule requires of sources; empty for any
 */
export function leftOut(
  caught: readonly Caught[],
  exposed: readonly string[],
  sources: readonly string[],
): NonNullable<Conflict["except"]> {
  const named = { ip: rangesIn("ip", sources), ip6: rangesIn("ip6", sources) };
  const isNarrowed = caught.some(({ region, judged }) =>
    region.some(box => difference(named[judged.family], box.sources).length > 0),
  );
  if (!isNarrowed) return [];
  return exposed.slice(0, MOST_SHOWN).flatMap(text => {
    const { family } = Cidr.literal(text);
    const boxes = caught.flatMap(({ region, judged }) => {
      const destinations = judged.family === family && judged.keptIn(text);
      return destinations ? within(region, { destinations, sources: every(family) }) : [];
    });
    if (boxes.length === 0) return [];
    const left = difference(named[family], united(boxes.flatMap(it => it.sources)));
    const cidrs = left.flatMap(([first, last]) => cidrsBetween(family, first, last));
    const texts = cidrs.slice(0, MOST_SHOWN).map(it => it.text);
    return texts.length > 0 ? [{ destination: text, sources: texts }] : [];
  });
}

function rangesIn(family: Family, cidrs: readonly string[]): Ranges {
  if (cidrs.length === 0) return every(family);
  return rangesOf(cidrs.map(it => Cidr.literal(it)).filter(it => it.family === family));
}
