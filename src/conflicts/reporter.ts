import type { Backend } from "../backends/backend.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { type Conflict, conflictText, some } from "./conflict.ts";

/** What is in force, and where the conflicts with it are kept. */
interface State {
  readonly policy: Policy | undefined;
  readonly backend: { readonly backend: Backend["name"] } | undefined;
  conflicts: readonly Conflict[];
}

type Facts = Readonly<Record<string, string | number | undefined>>;

interface Log {
  warn(message: string, facts: Facts): void;
  debug(message: string, facts: Facts): void;
}

/** Watches for foreign rules that conflict with the policy. It never fails and never delays a sync. */
export class ConflictReporter {
  readonly #warned = new Set<string>();
  #saidUnread = false;
  #looked = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  /** The look that is under way. */
  #look: Promise<void> | undefined;
  /** Chains on whose rules the last look depended. */
  #visited: ReadonlySet<string> = new Set();

  /** @param waits how long to wait for more changes, and the time between looks, in milliseconds */
  constructor(
    readonly state: State,
    readonly log: Log,
    readonly waits = WAITS,
  ) {}

  /**
   * Looks soon if a change matters. Changes often come in bursts and a look starts several programs, so it waits for
   * them to settle.
   *
   * @param where what changed, as in `ip nat POSTROUTING` or, for a whole table, `ip nat`; undefined if that is new
   */
  soon(where?: string): void {
    if (this.#timer || !this.#matters(where)) return;
    const wait = Math.max(this.waits.settled, this.#looked + this.waits.between - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.look();
    }, wait).unref();
  }

  /** Looks, and warns of each conflict once. If a look is under way, waits for that one. Throws nothing. */
  look(): Promise<void> {
    this.#look ??= this.#once()
      .catch(error => this.log.debug("foreign rules cannot be read", { error: messageOf(error) }))
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
    this.#looked = performance.now();
    const { findConflicts } = await import("./find.ts");
    const { conflicts, unread, visited } = await findConflicts(policy, backend?.backend);
    this.#visited = visited;
    this.state.conflicts = conflicts;
    this.#warn(conflicts.filter(({ harmless }) => !harmless));
    const [first] = unread;
    if (first === undefined || this.#saidUnread) return;
    this.#saidUnread = true;
    this.log.warn("some foreign rules cannot be read, so conflicts may be missed", {
      first,
      all: unread.length,
    });
  }

  #warn(conflicts: readonly Conflict[]): void {
    const fresh = conflicts.filter(it => !this.#warned.has(conflictText(it)));
    for (const it of fresh.slice(0, MOST_WARNINGS)) {
      const facts = {
        owner: it.owner,
        rule: it.rule,
        table: `${it.family} ${it.table}`,
        chain: it.chain,
      };
      if (it.kind === "exempts") {
        const exempts = some(it.exempts ?? []);
        this.log.warn("a foreign rule exempts connections that the policy masquerades", {
          ...facts,
          exempts,
          only: it.only,
          remedy: it.remedy,
        });
      } else {
        this.log.warn("a foreign rule masquerades connections that the policy keeps", {
          ...facts,
          exposes: some(it.exposes),
          remedy: it.remedy,
        });
      }
    }
    const more = fresh.length - MOST_WARNINGS;
    if (more > 0) this.log.warn("more foreign rules conflict with the policy; see ipmasq status", { more });
    for (const it of fresh) this.#warned.add(conflictText(it));
  }
}

const MOST_WARNINGS = 5;
const WAITS = { settled: 1000, between: 60_000 };
