import type { Family } from "../net/cidr.ts";
import { type FailureKind, failureKind, isRefusal } from "../system/program.ts";
import type { Command, Statement } from "./json.ts";
import type { Rule } from "./table.ts";
import type { NftTransactions } from "./transactions.ts";

/** Matches packets under an outgoing IPsec policy: `rt ipsec exists`. */
export const UNDER_IPSEC: Statement = { match: { op: "==", left: { rt: { key: "ipsec" } }, right: true } };

/** Whether rules can match packets under an IPsec policy. Asks nft and the kernel once. */
export class IpsecSupport {
  #answer: Promise<boolean> | undefined;

  constructor(readonly transactions: NftTransactions) {}

  /**
   * Never rejects: if nft fails, the write of the rules reports why.
   *
   * @param accepted rules that the kernel has accepted
   */
  async has(accepted: readonly Pick<Rule, "expr">[]): Promise<boolean> {
    if (accepted.some(({ expr }) => expr.some(it => Bun.deepEquals(it, UNDER_IPSEC)))) this.confirm();
    this.#answer ??= this.#ask();
    return this.#answer;
  }

  /** Whether the answer is known, so that `has` does not ask. */
  get isKnown(): boolean {
    return this.#answer !== undefined;
  }

  /** Call it when the kernel has accepted rules with this match. */
  confirm(): void {
    this.#answer = Promise.resolve(true);
  }

  async #ask(): Promise<boolean> {
    const refusal = await this.#refusal([UNDER_IPSEC]);
    return !refusesRules(refusal) || (await this.#refusal([])) !== undefined;
  }

  async #refusal(matches: readonly Statement[]): Promise<FailureKind | undefined> {
    try {
      await this.transactions.check(probe("ip", matches));
      return undefined;
    } catch (error) {
      return failureKind(error) ?? "crashed";
    }
  }
}

/** Whether nft or the kernel refused the rules; other kinds say nothing about the rules. */
export function refusesRules(kind: FailureKind | undefined): boolean {
  return isRefusal(kind) || kind === "not-found";
}

/** The commands are only checked, so this table never exists. */
const TABLE = "capability-probe";

function probe(family: Family, matches: readonly Statement[]): Command[] {
  const chain = { family, table: TABLE, name: "postrouting" };
  return [
    { add: { table: { family, name: TABLE } } },
    { add: { chain: { ...chain, type: "nat", hook: "postrouting", prio: 101, policy: "accept" } } },
    { add: { rule: { family, table: TABLE, chain: chain.name, expr: [...matches, { return: null }] } } },
  ];
}
