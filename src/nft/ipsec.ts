import type { Family } from "../net/cidr.ts";
import { type FailureKind, failureKind } from "../system/program.ts";
import type { Command, Statement } from "./json.ts";
import type { Nft } from "./nft.ts";
import type { Rule } from "./table.ts";

/** Matches packets under an outgoing IPsec policy, as `rt ipsec exists`. */
export const UNDER_IPSEC: Statement = { match: { op: "==", left: { rt: { key: "ipsec" } }, right: true } };

/** Whether rules can match packets under an IPsec policy; asks nft and kernel once. */
export class IpsecSupport {
  #answer: Promise<boolean> | undefined;

  constructor(readonly nft: Nft) {}

  /**
   * Never rejects: if the question fails, the write of the rules reports why.
   *
   * @param held rules that the kernel has taken
   */
  async has(held: readonly Pick<Rule, "expr">[]): Promise<boolean> {
    if (held.some(({ expr }) => expr.some(it => Bun.deepEquals(it, UNDER_IPSEC)))) this.found();
    this.#answer ??= this.#ask();
    return this.#answer;
  }

  /** To be called when rules that match them were taken. */
  found(): void {
    this.#answer = Promise.resolve(true);
  }

  async #ask(): Promise<boolean> {
    const refusal = await this.#refusal([UNDER_IPSEC]);
    return !isRefusal(refusal) || (await this.#refusal([])) !== undefined;
  }

  async #refusal(matches: readonly Statement[]): Promise<FailureKind | undefined> {
    try {
      await this.nft.check(probe("ip", matches));
      return undefined;
    } catch (error) {
      return failureKind(error) ?? "crashed";
    }
  }
}

/** Whether program or kernel refused, as opposed to a question that failed. */
export function isRefusal(kind: FailureKind | undefined): boolean {
  return kind === "unsupported" || kind === "refused" || kind === "not-found";
}

/** A table that no one has: the commands are only checked. */
const TABLE = "ipmasq-probe";

function probe(family: Family, matches: readonly Statement[]): Command[] {
  const chain = { family, table: TABLE, name: "postrouting" };
  return [
    { add: { table: { family, name: TABLE } } },
    { add: { chain: { ...chain, type: "nat", hook: "postrouting", prio: 101, policy: "accept" } } },
    { add: { rule: { family, table: TABLE, chain: chain.name, expr: [...matches, { return: null }] } } },
  ];
}
