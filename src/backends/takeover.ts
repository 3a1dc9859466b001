import type { Family } from "../net/cidr.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import type { ProgramError } from "../system/program.ts";
import { type Backend, FAMILIES, type Plan, type Tally, type Watch, type Watcher } from "./backend.ts";
import type { KernelRules } from "./rules.ts";
import { type Synced, sync } from "./sync.ts";

/** What other backends left, or this one in a family that is not wanted any more. */
export interface Leftovers {
  /** A line each. */
  readonly lines: readonly string[];
  /** Why some could not be read or removed, a sentence each. */
  readonly failures: readonly string[];
}

/**
 * A backend that takes over from the others: once its own rules are in force, `tidy` removes what they left. That is a
 * courtesy: it cannot fail or hold up a sync, and each of the others is read and cleaned apart.
 */
export class Takeover implements Backend {
  readonly name: Backend["name"];
  readonly writer: string;
  readonly place: Backend["place"];
  /** Those whose rules are elsewhere. */
  readonly others: readonly Backend[];

  /** @param all backends, the one that takes over among them or not */
  constructor(
    readonly backend: Backend,
    all: readonly Backend[],
  ) {
    this.name = backend.name;
    this.writer = backend.writer;
    this.place = backend.place;
    this.others = all.filter(({ place }) => place !== backend.place);
  }

  get limits(): readonly string[] {
    return this.backend.limits ?? [];
  }

  plan(policy: Policy): Promise<Plan> {
    return this.backend.plan(policy);
  }

  sync(policy: Policy, tally?: Tally): Promise<Synced> {
    return sync(this.backend, policy, tally);
  }

  /** What `tidy` would remove. Throws nothing. */
  leftovers(policy: Policy): Promise<Leftovers> {
    return this.#each(policy, (backend, families) => backend.held(families));
  }

  /** Removes what others left. To be called when the rules of the policy are in force. Throws nothing. */
  tidy(policy: Policy): Promise<Leftovers> {
    return this.#each(policy, async (backend, families) => {
      const found = await backend.held(families);
      return found.length > 0 ? backend.remove(families) : [];
    });
  }

  get claimsKept(): boolean {
    return this.backend.claimsKept ?? false;
  }

  claimKept(claim: boolean): void {
    this.backend.claimKept?.(claim);
  }

  watch(watcher: Watcher, polls?: boolean): Watch {
    return this.backend.watch(watcher, polls);
  }

  probe(policy: Policy): Promise<ProgramError | undefined> {
    return this.backend.probe(policy);
  }

  /** Those of all backends: an old one may still decide. */
  async rules(families: readonly Family[]): Promise<readonly KernelRules[]> {
    const others = this.others.map(it => it.rules(families).catch(() => []));
    return (await Promise.all([this.backend.rules(families), ...others])).flat();
  }

  async held(families = FAMILIES): Promise<readonly string[]> {
    return (await Promise.all([this.backend, ...this.others].map(it => it.held(families)))).flat();
  }

  /** Throws Error if something could not be read or removed, when all else is gone. */
  async remove(families = FAMILIES): Promise<readonly string[]> {
    const { lines, failures } = await inEachPlace([this.backend, ...this.others], families, (it, family) =>
      it.remove(family),
    );
    if (failures.length > 0) throw new Error(failures.join("; "));
    return lines;
  }

  async #each(
    { enabled }: Policy,
    work: (backend: Backend, families: readonly Family[]) => Promise<readonly string[]>,
  ): Promise<Leftovers> {
    const unwanted = FAMILIES.filter(family => !enabled.includes(family));
    const own = await inEachPlace([this.backend], unwanted, work);
    const others = await inEachPlace(this.others, FAMILIES, work);
    return { lines: [...own.lines, ...others.lines], failures: [...own.failures, ...others.failures] };
  }
}

/** Works on one place and family after the other: what cannot be done in one may be done in the next. */
async function inEachPlace(
  backends: readonly Backend[],
  families: readonly Family[],
  work: (backend: Backend, families: readonly Family[]) => Promise<readonly string[]>,
): Promise<Leftovers> {
  const lines: string[] = [];
  const failures: string[] = [];
  for (const writers of Map.groupBy(backends, ({ place }) => place).values()) {
    for (const family of families) {
      const found = await firstOf(writers, it => work(it, [family]));
      lines.push(...found.lines);
      failures.push(...found.failures.map(it => `${family}: ${it}`));
    }
  }
  return { lines, failures };
}

/**
 * What the first of several writers to one place finds. That others cannot read the place does not matter if one can:
 * iptables cannot where nft wrote, and nft does not see the comments of iptables.
 */
async function firstOf(
  writers: readonly Backend[],
  work: (writer: Backend) => Promise<readonly string[]>,
): Promise<Leftovers> {
  const failures: string[] = [];
  for (const writer of writers) {
    try {
      const lines = await work(writer);
      if (lines.length > 0) return { lines, failures: [] };
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  return { lines: [], failures: failures.length < writers.length ? [] : failures };
}
