import type { Family } from "../../net/cidr.ts";
import { POSTROUTING, type Saved } from "../../xtables/save.ts";
import { type Counter, changesBetween, type RuleChanges } from "../backend.ts";
import { type ChainChange, deletedBy, insertedBy, line } from "./chain-change.ts";
import { newCounters, savedCounters } from "./counters.ts";
import {
  actualLines,
  type Changes,
  changed,
  changesTo,
  desiredLines,
  firstLine,
  prefixed,
  restored,
  restoreInput,
  withKnownRules,
} from "./restore.ts";
import type { Ruleset } from "./ruleset.ts";

/** The desired and the actual rules of one family in table `nat`. */
export class NatDiff {
  readonly family: Family;
  readonly rules: Ruleset;
  readonly saved: Saved;
  readonly #changes: Changes | undefined;

  /** @param mayEdit whether single rules may be changed; otherwise, chains are written as a whole */
  constructor(saved: Saved, rules: Ruleset, mayEdit = true) {
    this.family = rules.family;
    this.rules = rules;
    this.saved = withKnownRules(saved, rules);
    const changes = changesTo(this.saved, rules);
    this.#changes = mayEdit || !changes ? changes : { ...changes, chains: changes.chains.map(asWhole) };
  }

  get inSync(): boolean {
    return this.#changes === undefined;
  }

  /** The input of iptables-restore that writes the differences; undefined if there are none. */
  get input(): string | undefined {
    return this.#changes && restoreInput(this.saved, this.#changes);
  }

  /** Whether the write changes single rules. */
  get hasEdits(): boolean {
    return this.#changes?.chains.some(({ edits }) => edits !== undefined) ?? false;
  }

  /** Whether the write needs the present counts, because it removes rules that count. */
  get needsCounts(): boolean {
    if (!this.#changes) return false;
    const { chains, leftovers } = this.#changes;
    return (
      leftovers.length > 0 || chains.some(it => removesRules(it) && this.saved.chains.has(it.chain.name))
    );
  }

  get actualText(): string[] {
    return prefixed(this.family, actualLines(this.saved, this.rules));
  }

  get desiredText(): string[] {
    return prefixed(this.family, desiredLines(this.rules));
  }

  /** The lines that only the desired or only the actual rules have. */
  get changes(): RuleChanges {
    const { chains, leftovers, jump, first, wrong } = this.#changes ?? NOTHING;
    if (leftovers.length > 0 || chains.some(({ edits }) => edits === undefined))
      return changesBetween(this.actualText, this.desiredText);
    const added = chains.flatMap(it => insertedBy(it).map(rule => line(it.chain.name, rule)));
    const removed = chains.flatMap(it => deletedBy(it).map(({ rule }) => line(it.chain.name, rule)));
    return {
      added: prefixed(this.family, [
        ...added,
        ...(first ? [firstLine(first)] : []),
        ...(jump ? [line(POSTROUTING, jump)] : []),
      ]),
      removed: prefixed(this.family, [...removed, ...wrong.map(rule => line(POSTROUTING, rule))]),
    };
  }

  /** The actual rules after the write. */
  get after(): Saved {
    return this.#changes ? changed(this.saved, this.rules, this.#changes) : this.saved;
  }

  get counters(): Counter[] {
    return savedCounters(this.family, this.saved.chains, this.#chain);
  }

  /** The counters right after the write, if the actual rules were listed. */
  get countersAfter(): Counter[] {
    return savedCounters(this.family, restored(this.saved, this.rules), this.#chain);
  }

  /** The counters that the write creates. They begin at zero. */
  get createdCounters(): Counter[] {
    return newCounters(this.counters, this.countersAfter);
  }

  /** The chain of the policy. */
  get #chain(): string {
    return this.rules.chains[0]?.name ?? "";
  }
}

const NOTHING: Changes = { chains: [], leftovers: [], jump: undefined, first: undefined, wrong: [] };

function asWhole(change: ChainChange): ChainChange {
  return { ...change, edits: undefined };
}

function removesRules({ edits }: ChainChange): boolean {
  return edits === undefined || edits.some(({ does }) => does === "delete");
}
