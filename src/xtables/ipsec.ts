import type { Family } from "../net/cidr.ts";
import type { IptablesCommands } from "./commands.ts";
import type { Saved } from "./save.ts";

/** Whether rules can match packets under an IPsec policy; asks iptables and kernel once per family. */
export class IpsecSupport {
  readonly #answers = new Map<Family, Promise<boolean>>();
  /** Whether the answer was no for some family. */
  isMissing = false;

  constructor(readonly tools: IptablesCommands) {}

  /** Never rejects: if the question fails, the write of the rules reports why. */
  async has(family: Family, saved: Saved): Promise<boolean> {
    const known = this.#answers.get(family);
    if (known) return known;
    const held = [...saved.chains.values()].some(rules => rules.some(({ rule }) => rule.includes("--pol")));
    const answer = held ? Promise.resolve(true) : this.#ask(family);
    this.#answers.set(family, answer);
    if (!(await answer)) this.isMissing = true;
    return answer;
  }

  /** No only if this rule is refused and a rule without the match is not. */
  async #ask(family: Family): Promise<boolean> {
    const accepts = (match: string) =>
      this.tools.test(family, `*nat\n-A POSTROUTING ${match}-j RETURN\nCOMMIT\n`).then(
        () => true,
        () => false,
      );
    return (await accepts("-m policy --dir out --pol ipsec ")) || !(await accepts(""));
  }
}
