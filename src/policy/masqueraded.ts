import { difference, every, intersection, type Ranges, rangesOf, united } from "../net/ranges.ts";
import { type CidrList, type FamilyPolicy, listsOf } from "./policy.ts";

/** The sources whose connections a policy may masquerade. */
export function masqueradedSources(family: FamilyPolicy): Ranges {
  const lists = listsOf(family).filter(it => it.of === "source");
  return lists.reduce<Ranges>(
    (sources, { list, effect }) =>
      effect === "require" ? intersection(sources, addresses(list)) : difference(sources, addresses(list)),
    every(family.family),
  );
}

/** The destinations in non-masquerade CIDRs, without the exceptions inside them. */
export function keptDestinations(family: FamilyPolicy): Ranges {
  const lists = listsOf(family).filter(it => it.of === "destination");
  return lists.reduceRight<Ranges>(
    (kept, { list, effect }) =>
      effect === "keep" ? united(kept.concat(addresses(list))) : difference(kept, addresses(list)),
    [],
  );
}

/** The addresses in a list. */
export function addresses({ effective }: CidrList): Ranges {
  return rangesOf(effective.map(({ cidr }) => cidr));
}
