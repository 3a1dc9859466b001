import type { Family } from "../net/cidr.ts";
import type { Policy } from "../policy/policy.ts";
import { type Backend, FAMILIES, type Plan, type Watch } from "./backend.ts";
import type { KernelRules } from "./rules.ts";

/**
 * A backend that takes over from the others: once its own rules stand, what they left is removed in the same sync,
 * and so is what it has itself in a family that is not wanted any more. All that is looked for after each write
 * and, if `lookFirst`, by the first plan; not by every one, since that takes programs of its own.
 */
export class Takeover implements Backend {
  readonly name: Backend["name"];
  readonly writer: string;
  #look: boolean;

  constructor(
    readonly backend: Backend,
    readonly others: readonly Backend[],
    lookFirst: boolean,
  ) {
    this.name = backend.name;
    this.writer = backend.writer;
    this.#look = lookFirst;
  }

  async plan(policy: Policy): Promise<Plan> {
    const plan = await this.backend.plan(policy);
    if (!plan.inSync) {
      this.#look = true;
      return plan;
    }
    if (!this.#look) return plan;
    const unwanted = unwantedBy(policy);
    const leftovers = await this.leftovers(policy);
    if (leftovers.length === 0) {
      this.#look = false;
      return plan;
    }
    return {
      ...plan,
      held: [...plan.held, ...leftovers],
      inSync: false,
      apply: async () => {
        await this.backend.remove(unwanted);
        for (const other of this.others) await other.remove();
      },
    };
  }

  /** What a sync removes once the rules of the policy stand, a line each. */
  async leftovers(policy: Policy): Promise<readonly string[]> {
    const looks = [this.backend.held(unwantedBy(policy)), ...this.others.map(other => other.held())];
    return (await Promise.all(looks)).flat();
  }

  watch(changed: (by?: string) => void, lost: (why: string) => void, strangers: () => void): Watch {
    return this.backend.watch(changed, lost, strangers);
  }

  /** Those of all backends: an old one may still decide. */
  async rules(families: readonly Family[]): Promise<readonly KernelRules[]> {
    return (await Promise.all([this.backend, ...this.others].map(it => it.rules(families)))).flat();
  }

  async held(families = FAMILIES): Promise<readonly string[]> {
    return (await Promise.all([this.backend, ...this.others].map(it => it.held(families)))).flat();
  }

  async remove(families = FAMILIES): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const backend of [this.backend, ...this.others]) removed.push(...(await backend.remove(families)));
    return removed;
  }
}

function unwantedBy(policy: Policy): Family[] {
  return FAMILIES.filter(family => !policy.families.some(it => it.family === family));
}
