import { Backoff } from "../agent/backoff.ts";
import { agentSocketPath } from "../agent/node-lock.ts";
import {
  type ChooseOptions,
  type Chosen,
  chooseBackend,
  everyBackend,
  isOwnTable,
  mayTranslate,
} from "../backends/choose.ts";
import { MigratingBackend } from "../backends/migrating-backend.ts";
import { isFailing, isUnreadable } from "../backends/moves.ts";
import { type Compared, compared } from "../backends/sync.ts";
import { formatDuration } from "../net/duration.ts";
import type { AgentState } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { failureKind, ProgramError } from "../system/program.ts";
import { aborted } from "../system/timing.ts";
import type { AgentFlags } from "./command.ts";

type Selected = Pick<Chosen, "backend" | "reason" | "alternatives">;

/** The rules in the kernel compared with a policy, and the backend that did it. */
export interface Answer extends Compared {
  readonly backend: MigratingBackend;
  /** Why this backend was chosen. */
  readonly reason: string;
}

/**
 * Compares the kernel with a policy as the agent would: if the program of the chosen backend fails, or cannot read the
 * rules of a family, another one does it. Throws ProgramError if none can.
 */
export async function comparisonFor(flags: AgentFlags, policy: Policy): Promise<Answer> {
  const { backend: first, reason, alternatives } = await backendFor(flags, policy);
  let best: Answer | undefined;
  let failure: unknown;
  for (const backend of [first, ...alternatives.filter(it => it !== first)]) {
    if (best && backend.backend.place !== best.backend.backend.place) continue;
    try {
      const read = await compared(backend, policy);
      const why = failure === undefined ? reason : `${first.writer} fails: ${messageOf(failure)}`;
      if (!best || read.failures.length < best.failures.length) best = { ...read, backend, reason: why };
      const unreadable = read.failures.find(isUnreadable);
      if (!unreadable) return best;
      failure ??= unreadable.error;
    } catch (error) {
      failure ??= error;
      if (!isFailing(failureKind(error), false)) break;
    }
  }
  if (best) return best;
  throw failure;
}

/**
 * Chooses the backend for a command that runs once. With `--backend=auto`, prefers the backend of the active agent.
 * Throws ProgramError if no backend is available.
 */
export async function backendFor(flags: AgentFlags, policy: Policy): Promise<Selected> {
  const used = flags.backend === "auto" ? await backendOfAgent(flags, policy) : undefined;
  if (used) return used;
  const exemption = exemptionFinder(policy.chain, async () => policy);
  return chooseBackend({ requested: flags.backend, policy, exemption });
}

/** The backend that the active agent uses; undefined if no agent answers, or its program is not available here. */
async function backendOfAgent(flags: AgentFlags, { chain }: Policy): Promise<Selected | undefined> {
  const { askIdentity } = await import("../inspect/ask-agent.ts");
  const agent = await askIdentity(agentSocketPath(flags["runtime-dir"]));
  if (agent === "unreachable" || agent instanceof Error || !agent.writer) return undefined;
  const all = await everyBackend(chain);
  const used = all.find(it => it.name === agent.backend && it.writer === agent.writer);
  if (!used) return undefined;
  const backend = new MigratingBackend(used, all);
  const ownTable = all.find(isOwnTable);
  if (agent.fallback && ownTable && used !== ownTable && (await mayTranslate(ownTable)))
    backend.enforceKept(true);
  return { backend, reason: "the active agent uses it", alternatives: [] };
}

/**
 * Returns a function that, for `--backend=auto`, searches for exemptions by foreign rules that only iptables
 * preserves. If the search fails, it returns undefined.
 *
 * @param chain the agent's chain
 * @param policy returns the policy; called only if a foreign rule exempts connections
 * @param failed receives the reason of a failure
 */
export function exemptionFinder(
  chain: string,
  policy: () => Promise<Policy>,
  failed: (why: string) => void = () => {},
): NonNullable<ChooseOptions["exemption"]> {
  return async (families, tables) => {
    try {
      const { exemptionKeptByIptables } = await import("../conflicts/iptables-reason.ts");
      return await exemptionKeptByIptables({ chain, policy, families, tables });
    } catch (error) {
      failed(messageOf(error));
      return undefined;
    }
  };
}

interface WhileChoosing {
  readonly state: AgentState;
  readonly log: Log;
  readonly serve: () => void;
  /** Resolves at SIGHUP, to try again at once. */
  readonly wake: { next(): Promise<void> };
  readonly stop: AbortSignal;
}

/**
 * Chooses the backend. While no backend is available, serves HTTP and retries every 1 s to 15 s and on SIGHUP. Returns
 * undefined if `stop` comes first.
 */
export async function chooseUntilFound(
  options: ChooseOptions,
  { state, log, serve, wake, stop }: WhileChoosing,
): Promise<Chosen | undefined> {
  const backoff = new Backoff(state.interval);
  const stopped = aborted(stop);
  const said = new LastSaid();
  while (!stop.aborted) {
    const at = Date.now();
    const began = performance.now();
    state.syncBegan();
    try {
      return await Promise.race([chooseBackend(options), stopped]);
    } catch (error) {
      if (!(error instanceof ProgramError)) throw error;
      const { message } = error;
      backoff.failed(performance.now(), performance.now() - began);
      if (said.isNews(message))
        log.error("no backend available", { error: message, retry: formatDuration(backoff.nextSync) });
      const seconds = (performance.now() - began) / 1000;
      state.syncEnded({ at, trigger: "start", result: "failed", seconds, message });
      serve();
    }
    await Promise.race([Bun.sleep(backoff.nextSync), wake.next(), stopped]);
  }
  return undefined;
}
