import type { Family } from "../net/cidr.ts";
import type { IptablesCommands } from "./commands.ts";
import type { Rule } from "./rule.ts";
import type { Saved } from "./save.ts";

/** A part of rules that kernel or iptables may lack. */
export interface Feature {
  /** The rule that is tested, after `-A POSTROUTING`. */
  readonly rule: (family: Family) => string;
  /** A word that only rules with the feature have. */
  readonly word: string;
}

/** Matches packets under an outgoing IPsec policy. */
export const IPSEC: Feature = { rule: () => "-m policy --dir out --pol ipsec -j RETURN", word: "--pol" };

/**
 * The target that binds a connection to its source: NETMAP to all addresses maps each address to itself and keeps ports
 * (measured with both variants, iptables 1.8.9, kernel 6.18).
 */
export function netmap(family: Family): Rule {
  return ["-j", "NETMAP", "--to", family === "ip" ? "0.0.0.0/0" : "::/0"];
}

/** Maps each address to itself. */
export const NETMAP: Feature = { rule: family => netmap(family).join(" "), word: "NETMAP" };

/** Whether rules can have a feature. Asks iptables and the kernel once per family. */
export class Support {
  readonly #answers = new Map<Family, Promise<boolean>>();
  /** Whether rules of a family cannot have the feature. */
  isMissing = false;

  constructor(
    readonly commands: IptablesCommands,
    readonly feature: Feature,
  ) {}

  /** Never rejects: if iptables fails, the write of the rules reports why. */
  async has(family: Family, saved: Saved): Promise<boolean> {
    const known = this.#answers.get(family);
    if (known) return known;
    const isUsed = [...saved.chains.values()].some(rules =>
      rules.some(({ text }) => text.includes(` ${this.feature.word} `)),
    );
    const answer = isUsed ? Promise.resolve(true) : this.#ask(family);
    this.#answers.set(family, answer);
    if (!(await answer)) this.isMissing = true;
    return answer;
  }

  /** Whether the answer for a family is known, so that `has` does not ask. */
  isKnown(family: Family): boolean {
    return this.#answers.has(family);
  }

  /** False only if a rule with the feature is refused and a rule without it is accepted. */
  async #ask(family: Family): Promise<boolean> {
    const accepts = (rule: string) =>
      this.commands.test(family, `*nat\n-A POSTROUTING ${rule}\nCOMMIT\n`).then(
        () => true,
        () => false,
      );
    return (await accepts(this.feature.rule(family))) || !(await accepts("-j RETURN"));
  }
}
