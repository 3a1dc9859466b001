import { competing, competingText } from "../inspect/competing.ts";
import type { Journal } from "../observe/journal.ts";
import type { Log } from "../observe/log.ts";

/** Keeps an eye on rules of others that masquerade what our policy keeps. */
export class Competitors {
  readonly #warned = new Set<string>();

  constructor(
    readonly journal: Journal,
    readonly log: Log,
  ) {}

  /** Looks for them, and warns of each once. Throws what reading throws. */
  async look(): Promise<void> {
    const { policy, backend } = this.journal;
    if (!policy) return;
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
