import { type Comparison, changesOf } from "../backends/backend.ts";
import { isUpstreamText } from "../backends/ownership.ts";
import type { AgentState } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import { LastSaid } from "../system/last-said.ts";
import type { Backoff } from "./backoff.ts";

/** Reports repairs, and whether the rules are contested: once when it begins, and once when it ends. */
export class Repairs {
  readonly #said = new LastSaid();

  constructor(
    readonly backoff: Backoff,
    readonly state: AgentState,
    readonly log: Log,
  ) {}

  /**
   * Records a repair.
   *
   * @param before the rules that were found
   * @param by the program that changed the rules, if known
   * @param took the duration of the sync in milliseconds
   * @returns the drift, for the record of the sync
   */
  repaired(before: Comparison, by: string | undefined, took: number): string {
    this.backoff.repaired(performance.now(), took);
    const { contested, repairs } = this.backoff;
    this.state.contested = contested;
    const drift = { ...driftOf(before), by, remedy: remedyFor(before) };
    const isNews = this.#said.isNews(contested ? CONTESTED : undefined);
    if (!contested) this.log.warn("drift repaired", drift);
    else if (isNews) this.log.warn(CONTESTED, { ...drift, repairs });
    const facts = Object.entries(drift).filter(([, value]) => value !== undefined);
    return facts.map(([key, value]) => `${key}=${value}`).join(" ");
  }

  /** Records a repair that another program undid before it was verified. */
  undone(took: number): void {
    this.backoff.undone(performance.now(), took);
    this.state.contested = true;
  }

  /** Records a sync that found nothing to repair. */
  unchanged(): void {
    if (!this.state.contested || !this.backoff.isCalm(performance.now())) return;
    this.backoff.calmedDown();
    this.state.contested = false;
    this.#said.isNews(undefined);
    this.log.info("rules are no longer contested");
  }
}

const CONTESTED = "rules are contested: another program keeps modifying them; slowing down repairs";

/** How many rules a write adds and removes, with the first of each. */
type Drift = {
  readonly added: number;
  readonly removed: number;
  /** Omitted if the kernel had none of our rules. */
  readonly firstAdded?: string;
  readonly firstRemoved?: string;
};

/** Compares the desired and the actual rules, as they were before a write. */
export function driftOf(plan: Comparison): Drift {
  const { added, removed } = changesOf(plan);
  const isFirst = added.length > 0 && removed.length === 0 && plan.actual.length === 0;
  return {
    added: added.length,
    removed: removed.length,
    ...(added[0] && !isFirst ? { firstAdded: added[0].trim() } : {}),
    ...(removed[0] ? { firstRemoved: removed[0].trim() } : {}),
  };
}

/** The remedy if the rules in the kernel are those of the upstream agent. */
function remedyFor({ actual }: Comparison): string | undefined {
  return actual.some(isUpstreamText) ? "another ip-masq-agent is running; remove it" : undefined;
}
