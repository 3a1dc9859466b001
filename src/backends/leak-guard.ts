import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { failureKind } from "../system/program.ts";
import type { Backend, Plan } from "./backend.ts";

/**
 * Drops leaks beside a backend that cannot: iptables has no chain after NAT, so nft writes a table with only the chain
 * that drops them. A failure of nft is a limit of the backend, and does not fail a sync.
 */
export class LeakGuard {
  #failure: string | undefined;
  /** The monotonic time of the next try after a failure. */
  #nextTry = 0;
  /** Whether the table may exist. */
  #isUsed = false;

  /** @param backend writes the table; see {@link Backend.leakGuard} */
  constructor(readonly backend: Backend) {}

  /** Why leaks are not dropped, as a sentence; undefined if they are. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Compares the table with a policy that drops leaks; undefined after a failure, for a minute. */
  async plan(policy: Policy): Promise<Plan | undefined> {
    if (this.#failure !== undefined && performance.now() < this.#nextTry) return undefined;
    try {
      const plan = await this.backend.plan(policy);
      this.#isUsed = true;
      this.#failure = undefined;
      return this.#tolerant(plan);
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  /** Removes the table if the policy before dropped leaks. Throws nothing: the next search for leftovers tries again. */
  async remove(): Promise<void> {
    if (!this.#isUsed) return;
    this.#isUsed = false;
    this.#failure = undefined;
    await this.backend.remove().catch(() => {});
  }

  /** The same plan, whose write does not throw. */
  #tolerant(plan: Plan): Plan {
    return {
      get actual() {
        return plan.actual;
      },
      get desired() {
        return plan.desired;
      },
      inSync: plan.inSync,
      writer: plan.writer,
      counters: plan.counters,
      apply: async () => {
        try {
          return await plan.apply();
        } catch (error) {
          this.#failed(error);
          return [];
        }
      },
    };
  }

  /** Throws errors that no program caused. */
  #failed(error: unknown): void {
    if (failureKind(error) === undefined) throw error;
    this.#failure = messageOf(error);
    this.#nextTry = performance.now() + RETRY_MS;
  }
}

const RETRY_MS = 60_000;
