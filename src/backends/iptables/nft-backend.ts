import { FAMILIES, type Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import { IpsecSupport } from "../../nft/ipsec.ts";
import type { NftObject } from "../../nft/json.ts";
import { Nft } from "../../nft/nft.ts";
import { ruleText } from "../../nft/text.ts";
import type { Policy } from "../../policy/policy.ts";
import type { Host } from "../../system/host.ts";
import { POSTROUTING } from "../../xtables/save.ts";
import type { Backend, Plan, PollTarget, Watch, Watcher } from "../backend.ts";
import { NO_IPSEC } from "../limits.ts";
import { Memory } from "../memory.ts";
import { DEFAULT_CHAIN, isOurComment, ownChainNames } from "../ownership.ts";
import { NAT, TableDiff } from "./nft-diff.ts";
import { NftNatPlan } from "./nft-plan.ts";
import { actualRule, targetOf } from "./nft-rule.ts";
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
  /** The chains of each family, as nft lists them. */
  readonly #memory = new Memory<Family, readonly NftObject[]>();
  #limits: readonly string[] = [];

  /** @param chain the agent's chain, which is ours even if it contains other rules */
  constructor(
    host: Host,
    readonly chain = DEFAULT_CHAIN,
  ) {
    this.#nft = new Nft(host.argv("nft"));
    this.#ipsec = new IpsecSupport(this.#nft.transactions);
    this.#nft.transactions.onSend = () => this.#memory.expect();
    this.#nft.transactions.onFailure = () => this.#memory.forget();
  }

  get limits(): readonly string[] {
    return this.#limits;
  }

  async plan(policy: Policy, from: "kernel" | "memory" = "kernel"): Promise<Plan> {
    const remembered = policy.families.map(({ family }) => this.#memory.get(family));
    const isRemembered = from === "memory" && remembered.every(it => it !== undefined);
    const listings = await Promise.all(
      policy.families.map(async (family, i) => ({
        family,
        listed:
          (isRemembered && remembered[i]) ||
          (await this.#remembered(family.family, chainNames(policy, family))),
      })),
    );
    const ipsec = await this.#ipsec.has(
      listings.flatMap(({ listed }) => listed.flatMap(it => ("rule" in it ? [it.rule] : []))),
    );
    this.#limits = ipsec ? [] : [NO_IPSEC];
    const diffs = listings.map(
      ({ family, listed }) =>
        new TableDiff(
          ruleset(policy, family, { randomFully: true, ipsec, netmap: true }),
          listed,
          policy.chain,
        ),
    );
    if (isRemembered && diffs.some(({ needsListing }) => needsListing)) return this.plan(policy);
    return new NftNatPlan(diffs, {
      writer: `${this.name} by ${this.writer}`,
      caution: this.#nft.caution,
      isRemembered,
      write: diffs => this.#write(diffs),
      isInKernel: diff => this.#isInKernel(diff),
    });
  }

  async #write(diffs: readonly TableDiff[]): Promise<void> {
    await this.#nft.transactions.attempt(diffs.flatMap(({ commands }) => commands));
    for (const { family, after } of diffs) this.#memory.written(family, after);
  }

  async #isInKernel({ family, after }: TableDiff): Promise<boolean> {
    const listed = (await this.#nft.chain(family, NAT, POSTROUTING)) ?? [];
    const isSame = Bun.deepEquals(rulesIn(listed), rulesIn(after));
    return isSame && this.#memory.get(family) !== undefined;
  }

  async check(policy: Policy): Promise<void> {
    const abilities = { randomFully: true, ipsec: await this.#ipsec.has([]), netmap: true };
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
    return watchNat(this.#nft.argv, this.chain, target, watcher, this.#memory);
  }

  /** POSTROUTING is limited to the jumps to our chains. */
  async rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]> {
    return (await this.#find(families)).map(diff => diff.traceableRuleset);
  }

  async actual(families: readonly Family[] = FAMILIES): Promise<readonly string[]> {
    return (await this.#find(families)).flatMap(({ actualText }) => actualText);
  }

  async remove(families: readonly Family[] = FAMILIES): Promise<readonly string[]> {
    const found = await this.#find(families);
    if (found.length > 0) {
      this.#memory.forget();
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

  async #remembered(family: Family, names: readonly string[]): Promise<readonly NftObject[]> {
    const { epoch } = this.#memory;
    const listed = await this.#list(family, names);
    this.#memory.listed(family, listed, epoch);
    return listed;
  }

  async #list(family: Family, names: readonly string[]): Promise<readonly NftObject[]> {
    const read = (chain: string) => this.#nft.chain(family, NAT, chain);
    const chains = await walkChains(read, names, listed =>
      listed.flatMap(it => ("rule" in it ? ownTarget(targetOf(it.rule), isOurComment(it.rule.comment)) : [])),
    );
    return [...chains.values()].flat();
  }
}

/** The rules of POSTROUTING in a listing, without counts and handles. */
function rulesIn(listed: readonly NftObject[]): string[] {
  return listed.flatMap(it =>
    "rule" in it && it.rule.chain === POSTROUTING ? [ruleText(actualRule(it.rule))] : [],
  );
}
