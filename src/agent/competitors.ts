import { competing, competingText } from "../inspect/competing.ts";
import type { Journal } from "../observe/journal.ts";
import type { Log } from "../observe/log.ts";

/** Keeps an eye on rules of others that masquerade what our policy keeps. */
export class Competitors {
  readonly #warned = new Set<string>();
  #looked = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;

  /** @param waits how long what changes is left to settle, and how long it is between looks, in milliseconds */
  constructor(
    readonly journal: Journal,
    readonly log: Log,
    readonly waits = WAITS,
  ) {}

  /** Looks for them before long: what changes is changed often by turns, and the look starts several programs. */
  soon(): void {
    if (this.#timer) return;
    const wait = Math.max(this.waits.settled, this.#looked + this.waits.between - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.look().catch(error => this.log.debug("rules of others cannot be read", { error: `${error}` }));
    }, wait).unref();
  }

  /** Looks for them, and warns of each once. Throws what reading throws. */
  async look(): Promise<void> {
    const { policy, backend } = this.journal;
    if (!policy) return;
    this.#looked = performance.now();
    const { readNatHooks } = await import("../inspect/foreign.ts");
    this.journal.competing = competing(await readNatHooks(), policy, backend?.backend);
    const harmful = this.journal.competing.filter(({ harmless }) => !harmless);
    const fresh = harmful.filter(it => !this.#warned.has(competingText(it)));
    for (const it of fresh.slice(0, MOST_WARNINGS)) {
      this.log.warn("a rule of somebody else masquerades what is to keep its address", {
        owner: it.owner,
        rule: it.rule,
        table: `${it.family} ${it.table}`,
        chain: it.chain,
        exposes: it.exposes.join(" "),
        remedy: it.remedy,
      });
    }
    const more = fresh.length - MOST_WARNINGS;
    if (more > 0) this.log.warn("and more rules that do; see ipmasq status", { more });
    for (const it of fresh) this.#warned.add(competingText(it));
  }
}

const MOST_WARNINGS = 5;
const WAITS = { settled: 1000, between: 60_000 };
