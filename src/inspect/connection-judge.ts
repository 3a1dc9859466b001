import type { Conflict } from "../conflicts/conflict.ts";
import { type Entry, isEnded } from "../conntrack/entry.ts";
import { type Address, type AddressValue, Cidr, type Family } from "../net/cidr.ts";
import { BROADCAST, MULTICAST } from "../net/group-address.ts";
import { Pieces } from "../net/pieces.ts";
import { addressOf } from "../net/ranges.ts";
import type { Verdict } from "../net/verdict.ts";
import { type Decision, decide } from "../policy/decision.ts";
import { type FamilyPolicy, listsOf, type Policy } from "../policy/policy.ts";
import { contradicts, mayTranslate } from "./explain.ts";
import type { Exemption, Judgement, Row } from "./judgement.ts";
import type { AddressTypes } from "./local-routes.ts";
import type { Routes } from "./routes.ts";

/** The state of the node that a judgement depends on. */
export interface Surroundings {
  readonly types: Pick<AddressTypes, "isLocal" | "isBroadcast">;
  /** CIDRs at whose ends the types of addresses change. */
  readonly typeCidrs: readonly Cidr[];
  /** Undefined if the policy does not depend on interfaces. */
  readonly routes: Routes | undefined;
  readonly conflicts: readonly Conflict[];
}

/** Judges live connections by the policy. */
export class ConnectionJudge {
  readonly rows: readonly Row[];
  readonly #families: ReadonlyMap<Family, FamilyJudge>;

  constructor(policy: Policy, surroundings: Surroundings) {
    const judges = policy.families.map(family => new FamilyJudge(policy, family, surroundings));
    this.rows = judges.flatMap(it => it.rows);
    this.#families = new Map(judges.map(it => [it.family, it]));
  }

  /** Judges an entry of the conntrack table. Returns undefined if the policy does not have its family. */
  judge(entry: Entry): Judgement | undefined {
    return this.#families.get(entry.family)?.judge(entry);
  }

  /** The policy's decision on a new connection with the addresses of an entry. */
  decision(entry: Entry): Decision | undefined {
    return this.#families.get(entry.family)?.decision(entry);
  }

  /** The address that `snatAddresses` chooses for a family; undefined if the kernel chooses. */
  snat(family: Family): Address | undefined {
    return this.#families.get(family)?.snat;
  }
}

/** The properties of all destinations in one piece of the address space. */
interface Destinations {
  readonly row: Row;
  readonly exempt: "node" | "group" | undefined;
  readonly broadcast: boolean;
  readonly out: string | undefined;
}

/** The judgement on all connections between a piece of sources and a piece of destinations. */
interface Ruling {
  readonly verdict: Verdict;
  /** Why a new connection may be kept although the verdict is masquerade; undefined if it is certain. */
  readonly doubt: "mark" | "interface" | undefined;
  readonly overruled: boolean;
  /** Whether the policy leaves the connections to a foreign rule that masquerades them. */
  readonly isForeign: boolean;
}

class FamilyJudge {
  readonly family: Family;
  readonly rows: readonly Row[];
  readonly #policy: Policy;
  readonly #surroundings: Surroundings;
  /** The address that `snatAddresses` chooses; undefined if the kernel chooses. */
  readonly snat: Address | undefined;
  readonly #rowOf: (destination: Address) => Row;
  /** The pieces in which all addresses are equal to the policy, the node and the foreign rules. */
  readonly #pieces: Pieces;
  readonly #destinations: (Destinations | undefined)[] = [];
  readonly #isLocal: (boolean | undefined)[] = [];
  readonly #rulings = new Map<number, Ruling>();
  /** Whether a foreign rule masquerades packets that carry a mark, as kube-proxy's does for Services. */
  readonly #masqueradesMarked: boolean;

  constructor(policy: Policy, family: FamilyPolicy, surroundings: Surroundings) {
    const { typeCidrs, routes, conflicts } = surroundings;
    const lists = listsOf(family);
    this.family = family.family;
    this.#policy = policy;
    this.#surroundings = surroundings;
    this.snat = family.snat?.chosen?.address;
    this.#pieces = new Pieces(this.family, [
      ...lists.flatMap(({ list }) => list.effective.map(({ cidr }) => cidr)),
      ...typeCidrs,
      ...BROADCAST,
      MULTICAST[this.family],
      ...(routes?.cidrs ?? []),
      ...conflicts.flatMap(cidrsOf),
    ]);
    this.#masqueradesMarked = conflicts.some(
      ({ kind, harmless, defeated }) => kind !== "exempts" && harmless && !defeated,
    );
    const destinations = lists.flatMap(({ list, of, effect }) =>
      of === "destination" && effect !== "require" ? [{ list, verdict: effect }] : [],
    );
    const rest: Row = { family: this.family, cidr: undefined, verdict: "masquerade", origin: undefined };
    const tables = destinations.map(({ list, verdict }) => {
      const row = new Map(
        list.effective.map(it => [
          it.cidr,
          { family: this.family, cidr: it.cidr, verdict, origin: it.origin },
        ]),
      );
      const pieces = new Pieces(this.family, row.keys());
      const rows: (Row | undefined)[] = [];
      for (const it of row.values()) rows[pieces.at(it.cidr.first)] = it;
      return { pieces, rows, all: [...row.values()] };
    });
    this.rows = [...tables.flatMap(({ all }) => all), rest];
    this.#rowOf = destination => {
      for (const { pieces, rows } of tables) {
        const row = rows[pieces.at(destination.value)];
        if (row) return row;
      }
      return rest;
    };
  }

  judge(entry: Entry): Judgement {
    const { family, zone, original, reply } = entry;
    if (zone !== 0) return EXEMPT.zone;
    const [from, to] = [this.#pieces.at(original.source), this.#pieces.at(reply.source)];
    this.#destinations[to] ??= this.#lookUp(addressOf(family, reply.source));
    const { row, exempt } = this.#destinations[to];
    if (exempt) return EXEMPT[exempt];
    if (original.source === reply.source) return EXEMPT.hairpin;
    const isSame = original.source === reply.destination;
    this.#isLocal[from] ??= this.#surroundings.types.isLocal(addressOf(family, original.source));
    // Masquerading may leave the address of the node's own connections as it is.
    const has = !isSame ? "masqueraded" : this.#isLocal[from] ? "node" : "kept";
    if (isEnded(entry)) return { row, has, outcome: "ended" };
    if (has === "node") return { row, has, outcome: "agrees" };
    const key = from * this.#pieces.count + to;
    let ruling = this.#rulings.get(key);
    if (!ruling) {
      ruling = this.#rule(original.source, reply.source);
      this.#rulings.set(key, ruling);
    }
    const { verdict, doubt, overruled, isForeign } = ruling;
    const isRight = isSame
      ? verdict === "keep"
      : isForeign || (verdict === "masquerade" && this.#isChosen(reply.destination));
    if (isRight) return { row, has, outcome: "agrees" };
    if (overruled) return { row, has, outcome: "overruled" };
    if (isSame) return { row, has, outcome: doubt ?? "stale" };
    const isTranslated =
      original.destination !== reply.source || original.destinationPort !== reply.sourcePort;
    return { row, has, outcome: isTranslated && this.#masqueradesMarked ? "service" : "stale" };
  }

  /** Whether masquerading gives a connection this address. */
  #isChosen(address: AddressValue): boolean {
    return this.snat === undefined || address === this.snat.value;
  }

  decision({ family, original, reply }: Entry): Decision {
    const destination = addressOf(family, reply.source);
    const { broadcast, out } = this.#lookUp(destination);
    const source = addressOf(family, original.source);
    return decide(this.#policy, { destination, source, broadcast, ...(out !== undefined && { out }) });
  }

  #lookUp(destination: Address): Destinations {
    const { types, routes } = this.#surroundings;
    const broadcast = types.isBroadcast(destination);
    const { rule } = decide(this.#policy, { destination, broadcast, local: types.isLocal(destination) });
    const exempt = { local: "node", multicast: "group", broadcast: "group" } as const;
    return {
      row: this.#rowOf(destination),
      exempt: rule === "local" || rule === "multicast" || rule === "broadcast" ? exempt[rule] : undefined,
      broadcast,
      out: routes?.interfaceOf(destination),
    };
  }

  #rule(from: AddressValue, to: AddressValue): Ruling {
    const { routes, conflicts } = this.#surroundings;
    const destination = addressOf(this.family, to);
    const source = addressOf(this.family, from);
    const out = routes?.interfaceOf(destination);
    const hasMarks = this.#policy.nonMasqueradeMarks.length > 0;
    const by = { source, destination, ...(out !== undefined && { out }) };
    const { verdict, rule } = decide(this.#policy, by);
    const isUnselected = rule === "source" || rule === "output-interface";
    return {
      verdict,
      doubt: hasMarks ? "mark" : routes !== undefined && out === undefined ? "interface" : undefined,
      overruled: conflicts.some(it => contradicts(it, verdict, by)),
      isForeign: isUnselected && conflicts.some(it => mayTranslate(it, { source, out })),
    };
  }
}

const EXEMPT = {
  node: { exempt: "node" },
  group: { exempt: "group" },
  hairpin: { exempt: "hairpin" },
  zone: { exempt: "zone" },
} as const satisfies Record<Exemption, Judgement>;

/** The CIDRs at whose ends the effect of a foreign rule changes. */
function cidrsOf({ exposes, exempts = [], sources = [], except = [] }: Conflict): Cidr[] {
  const left = except.flatMap(it => [it.destination, ...it.sources]);
  return [...exposes, ...exempts, ...sources, ...left].map(Cidr.literal);
}
