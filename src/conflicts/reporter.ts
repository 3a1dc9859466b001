import type { Backend } from "../backends/backend.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { type Conflict, conflictText, exposedText, harmfulOf, some } from "./conflict.ts";

interface State {
  readonly policy: Policy | undefined;
  readonly backend: { readonly backend: Backend["name"] } | undefined;
  /** Receives the conflicts of the last look. */
  conflicts: readonly Conflict[];
  /** Receives a sentence for each chain or table that the last look could not read. */
  unread: readonly string[];
}

type Facts = Readonly<Record<string, string | number | undefined>>;

interface Log {
  warn(message: string, facts: Facts): void;
  debug(message: string, facts: Facts): void;
}

/** Looks for conflicts when foreign rules change, and logs each conflict once. A look never fails or delays a sync. */
export class ConflictReporter {
  readonly #logged = new Set<string>();
  readonly #unread = new LastSaid();
  /** When the last look began, by a monotonic clock. */
  #lastLook = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  /** The current look. */
  #look: Promise<void> | undefined;
  /** The chains that the last look depended on. */
  #visited: ReadonlySet<string> = new Set();

  /** @param waits the time to wait for more changes, and the minimum time between looks, in milliseconds */
  constructor(
    readonly state: State,
    readonly log: Log,
    readonly waits = WAITS,
  ) {}

  /**
   * Schedules a look if a change matters. Changes come in bursts and a look starts several programs, so it waits until
   * the rules have settled.
   *
   * @param where the changed chain, as in `ip nat POSTROUTING`, or table, as in `ip nat`; undefined for a new chain
   */
  soon(where?: string): void {
    if (this.#timer || !this.#matters(where)) return;
    const wait = Math.max(this.waits.settled, this.#lastLook + this.waits.between - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.look();
    }, wait).unref();
  }

  /** Looks for conflicts and logs new ones; joins a look that has begun already. Throws nothing. */
  look(): Promise<void> {
    this.#look ??= this.#once()
      .catch(error => this.log.debug("cannot read foreign rules", { error: messageOf(error) }))
      .finally(() => {
        this.#look = undefined;
      });
    return this.#look;
  }

  #matters(where: string | undefined): boolean {
    if (where === undefined || this.#visited.has(where)) return true;
    return this.#visited.values().some(it => it.startsWith(`${where} `));
  }

  async #once(): Promise<void> {
    const { policy, backend } = this.state;
    if (!policy) return;
    this.#lastLook = performance.now();
    const { findConflicts } = await import("./find.ts");
    const { conflicts, unread, visited } = await findConflicts(policy, backend?.backend);
    this.#visited = visited;
    this.state.conflicts = conflicts;
    this.state.unread = unread;
    this.#warn(harmfulOf(conflicts));
    const [first] = unread;
    if (first === undefined || !this.#unread.isNews(UNREAD)) return;
    this.log.warn(UNREAD, { first, all: unread.length });
  }

  #warn(conflicts: readonly Conflict[]): void {
    const fresh = conflicts.filter(it => !this.#logged.has(conflictText(it)));
    for (const it of fresh.slice(0, MOST_WARNINGS)) {
      const facts = { owner: it.owner, rule: it.rule, table: `${it.family} ${it.table}`, chain: it.chain };
      const { only, remedy } = it;
      if (it.kind === "exempts") {
        const exempts = some(it.exempts ?? []);
        const message = "a foreign rule exempts connections that the policy masquerades";
        this.log.warn(message, { ...facts, exempts, only, remedy });
      } else {
        const exposes = exposedText(it);
        const message = "a foreign rule masquerades connections that the policy keeps";
        this.log.warn(message, { ...facts, exposes, remedy });
      }
    }
    const more = fresh.length - MOST_WARNINGS;
    if (more > 0) this.log.warn("more foreign rules conflict with the policy; see ipmasq status", { more });
    for (const it of fresh) this.#logged.add(conflictText(it));
  }
}

const UNREAD = "cannot read some foreign rules; conflicts may be missing";
const MOST_WARNINGS = 5;
const WAITS = { settled: 1000, between: 60_000 };
