import type { Family } from "../net/cidr.ts";
import type { IptablesCommands } from "./commands.ts";
import type { Saved } from "./save.ts";

/** Whether rules can match packets under an IPsec policy. Asks iptables and the kernel once per family. */
export class IpsecSupport {
  readonly #answers = new Map<Family, Promise<boolean>>();
  /** Whether rules of a family cannot match these packets. */
  isMissing = false;

  constructor(readonly commands: IptablesCommands) {}

  /** Never rejects: if iptables fails, the write of the rules reports why. */
  async has(family: Family, saved: Saved): Promise<boolean> {
    const known = this.#answers.get(family);
    if (known) return known;
    const isUsed = [...saved.chains.values()].some(rules =>
      rules.some(({ text }) => text.includes(" --pol ")),
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

  /** False only if a rule with the match is refused and a rule without it is accepted. */
  async #ask(family: Family): Promise<boolean> {
    const accepts = (match: string) =>
      this.commands.test(family, `*nat\n-A POSTROUTING ${match}-j RETURN\nCOMMIT\n`).then(
        () => true,
        () => false,
      );
    return (await accepts("-m policy --dir out --pol ipsec ")) || !(await accepts(""));
  }
}
