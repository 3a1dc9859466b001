import type { Plan } from "../backends/backend.ts";
import type { AgentState } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import { LastSaid } from "../system/last-said.ts";
import type { Backoff } from "./backoff.ts";
import { driftOf, remedyFor } from "./drift.ts";

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
   * @param by the program that changed them, if known
   * @param took milliseconds that the sync took
   * @returns the drift, for the record of the sync
   */
  repaired(before: Plan, by: string | undefined, took: number): string {
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
