import { FAMILIES, type Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import { IpsecSupport } from "../../nft/ipsec.ts";
import type { NftObject } from "../../nft/json.ts";
import { Nft } from "../../nft/nft.ts";
import type { Policy } from "../../policy/policy.ts";
import type { Host } from "../../system/host.ts";
import { POSTROUTING } from "../../xtables/save.ts";
import { type Backend, NO_IPSEC, type Plan, type PollTarget, type Watch, type Watcher } from "../backend.ts";
import { DEFAULT_CHAIN, isOurComment, ownChainNames } from "../ownership.ts";
import { NAT, TableDiff } from "./nft-diff.ts";
import { targetOf } from "./nft-rule.ts";
import { ownTarget, walkChains, watchNat } from "./own-chains.ts";
import { chainNames, ruleset } from "./ruleset.ts";

/**
 * Keeps the chain and the jump in tables `ip nat` and `ip6 nat` with nft, for nodes without iptables. iptables cannot
 * read these rules.
 */
export class NftNatBackend implements Backend {
  readonly name = "iptables";
  readonly writer = "nft";
  readonly place = "nat of nf_tables";
  readonly #nft: Nft;
  readonly #ipsec: IpsecSupport;
  #limits: readonly string[] = [];

  /** @param chain the agent's chain, which is ours even if it contains other rules */
  constructor(
    host: Host,
    readonly chain = DEFAULT_CHAIN,
  ) {
    this.#nft = new Nft(host.argv("nft"));
    this.#ipsec = new IpsecSupport(this.#nft.transactions);
  }

  get limits(): readonly string[] {
    return this.#limits;
  }

  async plan(policy: Policy): Promise<Plan> {
    const listings = await Promise.all(
      policy.families.map(async family => ({
        family,
        listed: await this.#list(family.family, chainNames(policy, family)),
      })),
    );
    const ipsec = await this.#ipsec.has(
      listings.flatMap(({ listed }) => listed.flatMap(it => ("rule" in it ? [it.rule] : []))),
    );
    this.#limits = ipsec ? [] : [NO_IPSEC];
    const diffs = listings.map(
      ({ family, listed }) =>
        new TableDiff(ruleset(policy, family, { randomFully: true, ipsec }), listed, policy.chain),
    );
    const commands = diffs.flatMap(diff => diff.commands);
    return {
      actual: diffs.flatMap(({ actualText }) => actualText),
      desired: diffs.flatMap(({ desiredText }) => desiredText),
      inSync: commands.length === 0,
      writer: `${this.name} by ${this.writer}`,
      counters: diffs.flatMap(({ counters }) => counters),
      caution: this.#nft.caution,
      apply: async () => {
        await this.#nft.transactions.attempt(commands);
        return diffs.flatMap(({ countersAfter }) => countersAfter);
      },
    };
  }

  async check(policy: Policy): Promise<void> {
    const abilities = { randomFully: true, ipsec: await this.#ipsec.has([]) };
    const diffs = policy.families.map(it => new TableDiff(ruleset(policy, it, abilities), [], policy.chain));
    await this.#nft.transactions.check(diffs.flatMap(({ commands }) => commands));
  }

  explained(error: unknown): Promise<unknown> {
    return this.#nft.transactions.explained(error);
  }

  fingerprint(policy: Policy): Promise<string> {
    return this.#nft.chainsText(
      policy.families.flatMap(it =>
        [POSTROUTING, ...chainNames(policy, it)].map(name => ({ family: it.family, table: NAT, name })),
      ),
    );
  }

  watch(watcher: Watcher, target: PollTarget): Watch {
    return watchNat(this.#nft.argv, this.chain, target, watcher);
  }

  /** POSTROUTING is limited to the jumps to our chains. */
  async rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]> {
    return (await this.#find(families)).map(diff => diff.traceableRuleset);
  }

  async actual(families = FAMILIES): Promise<readonly string[]> {
    return (await this.#find(families)).flatMap(({ actualText }) => actualText);
  }

  async remove(families = FAMILIES): Promise<readonly string[]> {
    const found = await this.#find(families);
    if (found.length > 0) {
      const chains = (await this.#nft.chains()).flatMap(it => ("chain" in it ? [it.chain] : []));
      await this.#nft.transactions.commit(found.flatMap(diff => diff.removal(chains)));
    }
    return found.map(({ actualText, family }) => `${actualText.length} rules of nft in table ${family} nat`);
  }

  /** The families in which we have rules, independent of the policy. */
  async #find(families: readonly Family[]): Promise<TableDiff[]> {
    const names = [...ownChainNames(this.chain), ...ownChainNames()];
    const diffs = families.map(
      async family => new TableDiff({ family }, await this.#list(family, names), this.chain),
    );
    return (await Promise.all(diffs)).filter(({ commands }) => commands.length > 0);
  }

  async #list(family: Family, names: readonly string[]): Promise<readonly NftObject[]> {
    const read = (chain: string) => this.#nft.chain(family, NAT, chain);
    const chains = await walkChains(read, names, listed =>
      listed.flatMap(it => ("rule" in it ? ownTarget(targetOf(it.rule), isOurComment(it.rule.comment)) : [])),
    );
    return [...chains.values()].flat();
  }
}
