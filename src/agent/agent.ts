import type { Backend } from "../backends/backend.ts";
import { type Synced, sync } from "../backends/sync.ts";
import type { Config } from "../config/config.ts";
import { parseConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { readSources } from "../config/sources.ts";
import { formatDuration } from "../net/duration.ts";
import type { Log } from "../observe/log.ts";
import { type Policy, type PolicyFlags, policyOf } from "../policy/policy.ts";
import { Triggers } from "./triggers.ts";

export interface Settings {
  /** Path of the config. */
  readonly config: string;
  readonly flags: PolicyFlags;
  /** Milliseconds; undefined if the config is to say. */
  readonly resyncInterval: number | undefined;
  readonly cleanupOnExit: boolean;
}

const RESYNC_MS = 60_000;
const FIRST_RETRY_MS = 1000;

/**
 * The agent's life: a sync at its start, at every trigger, and at the latest after the resync interval,
 * until `stop`. What fails is logged and tried again, later each time; it is no reason to end.
 */
export async function runAgent(
  settings: Settings,
  backend: Backend,
  log: Log,
  stop: AbortSignal,
): Promise<void> {
  const triggers = new Triggers();
  const watch = backend.watch(() => triggers.push("kernel"));
  stop.addEventListener("abort", () => triggers.push("signal"));
  triggers.push("start");
  const state = new State(settings, log);
  let failures = 0;
  for (let wait = 0; ; wait = failures === 0 ? state.interval : backOff(failures, state.interval)) {
    await triggers.next(wait);
    if (stop.aborted) break;
    try {
      await state.read();
      await state.sync(backend);
      failures = 0;
    } catch (error) {
      failures++;
      const retry = formatDuration(backOff(failures, state.interval));
      log.error("sync failed", { error: error instanceof Error ? error.message : String(error), retry });
    }
  }
  watch.stop();
  if (settings.cleanupOnExit) log.info("rules removed", { removed: (await backend.remove()).join(", ") });
}

/** One sync, for a caller who waits for it. Returns false if the config is wrong. Throws what a sync throws. */
export async function syncOnce(settings: Settings, backend: Backend, log: Log): Promise<boolean> {
  const state = new State(settings, log);
  await state.read();
  return state.sync(backend);
}

function backOff(failures: number, interval: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), interval);
}

/** The last good policy, and what was said of the config. */
class State {
  #policy: Policy | undefined;
  /** Whether the policy is another one than that of the last sync. */
  #fresh = false;
  #digest: string | undefined;
  #configured: number | undefined;

  constructor(
    readonly settings: Settings,
    readonly log: Log,
  ) {}

  get interval(): number {
    return this.settings.resyncInterval ?? this.#configured ?? RESYNC_MS;
  }

  /** Reads the config. One that is wrong changes nothing, and is logged once. */
  async read(): Promise<void> {
    const { config: path, flags } = this.settings;
    const sources = await readSources(path);
    if (sources.digest === this.#digest) return;
    this.#digest = sources.digest;
    const loaded = await parseConfig(sources, { enableIPv6: flags.enableIPv6 });
    for (const line of formatProblems(loaded.problems)) {
      if (loaded.ok) this.log.warn(line);
      else this.log.error(line);
    }
    if (loaded.ok) this.#accept(loaded.config);
    else this.log.error("the config is wrong, so the last good policy stays", { config: path });
  }

  /** Returns false if there is no good policy yet: then nothing is touched. */
  async sync(backend: Backend): Promise<boolean> {
    if (!this.#policy) return false;
    const began = performance.now();
    const { before, after } = await sync(backend, this.#policy);
    const ms = Math.round(performance.now() - began);
    if (before !== after) {
      const message = this.#fresh ? "rules applied" : "the kernel did not hold our rules any more: restored";
      this.log.info(message, { ...differences(before), ms });
    }
    this.#fresh = false;
    return true;
  }

  #accept(config: Config): void {
    this.#policy = policyOf(config, this.settings.flags);
    this.#configured = config.resyncInterval?.value;
    this.#fresh = true;
  }
}

/** How many lines of the rules were missing and how many were not ours, with the first of each. */
function differences({ held, wanted }: Synced["before"]) {
  const has = new Set(held);
  const wants = new Set(wanted);
  const missing = wanted.filter(line => !has.has(line));
  const foreign = held.filter(line => !wants.has(line));
  return {
    missing: missing.length,
    superfluous: foreign.length,
    ...(held.length > 0 && missing[0] ? { firstMissing: missing[0].trim() } : {}),
    ...(foreign[0] ? { firstSuperfluous: foreign[0].trim() } : {}),
  };
}
