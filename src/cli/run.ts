import { Agent } from "../agent/agent.ts";
import { Backoff } from "../agent/backoff.ts";
import type { Settings } from "../agent/desired-policy.ts";
import { NodeLock } from "../agent/node-lock.ts";
import type { SyncRequest } from "../agent/sync-queue.ts";
import { feedWatchdog } from "../agent/watchdog.ts";
import { type ChooseOptions, type Chosen, chooseBackend, everyBackend } from "../backends/choose.ts";
import { Failover } from "../backends/failover.ts";
import { removeAll } from "../backends/removal.ts";
import { ConflictReporter } from "../conflicts/reporter.ts";
import { formatDuration } from "../net/duration.ts";
import type { Listen } from "../net/listen.ts";
import { AgentState } from "../observe/agent-state.ts";
import { createLog, type Log } from "../observe/log.ts";
import type { ServerOptions } from "../observe/server.ts";
import { policyOf } from "../policy/policy.ts";
import { LastSaid } from "../system/last-said.ts";
import { ProgramError } from "../system/program.ts";
import { within } from "../system/timing.ts";
import { command } from "./command.ts";
import { exemptionFor } from "./exemption.ts";
import { toggle } from "./flags.ts";
import { policyFlags, readPolicy } from "./policy.ts";
import { BUILD } from "./version.ts";

/** klog's level from which on an agent is expected to talk a lot. */
const KLOG_DEBUG = 4;

export const run = command({
  name: "run",
  summary: "keep the rules in the kernel (what ipmasq does without a command)",
  description:
    "Runs the agent: reads the config, brings the rules into the kernel, and keeps them there until SIGTERM or SIGINT. The rules stay when it ends.",
  flags: { once: toggle("sync once, then exit with 0, or with 1 and the reason", "false") },
  readsPolicy: true,
  examples: ["ipmasq run --enable-ipv6", "ipmasq run --once --config=./ip-masq-agent.yaml"],
  async run({ once }, flags) {
    const verbose = flags.v !== undefined && flags.v >= KLOG_DEBUG;
    const log = createLog(verbose ? "debug" : flags["log-level"], flags["log-format"]);
    const policy = policyOf({}, policyFlags(flags));
    const options: ChooseOptions = {
      requested: flags.backend,
      policy,
      ...exemptionFor(
        policy.chain,
        async () => (await readPolicy(flags, "")).policy ?? policy,
        error => log.debug("exemptions cannot be read", { error }),
      ),
    };
    const settings: Settings = {
      config: flags.config,
      missing: flags.configGiven ? (once ? "error" : "warning") : undefined,
      flags: policyFlags(flags),
      resyncInterval: flags["resync-interval"],
    };
    const at = Date.now();
    const state = new AgentState(BUILD, at);
    state.interval = settings.resyncInterval ?? state.interval;
    const directory = flags["runtime-dir"];
    const identity = { version: BUILD.version, since: new Date(state.startedAt).toISOString() };
    if (once) {
      const lock = new NodeLock(directory, log, { "/agent": () => identity });
      const backend = new Failover(await chooseBackend(options), 1);
      const agent = new Agent(settings, backend, state, log, lock);
      log.info("backend chosen", {
        backend: backend.name,
        writer: backend.writer,
        reason: backend.chosen.reason,
      });
      const { result } = await agent.once(START);
      await agent.tidied;
      lock.release();
      return { exitCode: result === "failed" ? 1 : 0 };
    }
    const stop = new AbortController();
    const wake = new Wake();
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort());
    process.on("SIGHUP", () => wake.wake());
    const conflicts = new ConflictReporter(state, log);
    const look = () => conflicts.look();
    let agent: Agent | undefined;
    const metricsCidrLimit = flags["metrics-cidr-limit"];
    const http = { state, log, refresh: async () => agent?.count(), look, metricsCidrLimit };
    const lock = new NodeLock(directory, log, {
      "/agent": () => identity,
      "/status": async () => {
        const { statusReport } = await import("../observe/status-report.ts");
        const counted = agent
          ?.count()
          .catch(error => log.debug("counters cannot be read", { error: `${error}` }));
        // `status` waits 3 s for the answer. If a program hangs, what was found last has to do.
        await within(FRESH_MS, Promise.all([counted, look()]));
        return statusReport(state);
      },
    });
    const serve = onlyOnce(() => listen(flags.listen, http, stop.signal));
    const watchdog = feedWatchdog(state, log);
    stop.signal.addEventListener("abort", () => watchdog.stop());
    const chosen = await chooseInTheEnd(options, { ...http, serve }, wake, stop.signal);
    if (!chosen) {
      log.info("ipmasq ends");
      return { exitCode: 0 };
    }
    const backend = new Failover(chosen);
    const { name, writer } = backend;
    const { reason } = chosen;
    state.backend = { backend: name, writer, reason, fallback: chosen.preferred !== undefined };
    log.info("ipmasq starts", { ...BUILD, backend: name, writer, reason, config: settings.config });
    const running = new Agent(settings, backend, state, log, lock);
    agent = running;
    wake.follow(() => running.wake());
    const begun = () => {
      serve();
      void look();
    };
    await Promise.race([
      running.run(stop.signal, begun, where => conflicts.soon(where)),
      longAfter(stop.signal),
    ]);
    if (flags["cleanup-on-exit"]) {
      if (running.ownsRules) await cleanUp(flags["masq-chain"], log);
      else log.info("rules stay: this agent is not active, or never had a policy in force");
    }
    lock.release();
    log.info("ipmasq ends");
    return { exitCode: 0 };
  },
});

/** Removes the rules as `cleanup` does, but does not wait for a program that hangs. */
async function cleanUp(chain: string, log: Log): Promise<void> {
  const removal = await within(CLEANUP_MS, everyBackend(chain).then(removeAll));
  if (!removal) {
    log.error(`rules may be left: they could not be removed within ${formatDuration(CLEANUP_MS)}`);
    return;
  }
  const removed = removal.done.map(line => line.replace(/^removed /, "")).join(", ");
  log.info("rules removed", { removed });
  for (const failure of removal.failures) log.error(failure);
}

/** It takes a few hundred ms, with 100,000 CIDRs some seconds; systemd and kubelet wait for 10 s and 30 s. */
const CLEANUP_MS = 5000;

const START: SyncRequest = { triggers: ["start"], by: undefined };

/** Serves HTTP until `stop`. Its packages are loaded here, since the first sync does not need them. */
async function listen(
  listen: Listen | "nowhere",
  about: Omit<ServerOptions, "listen">,
  stop: AbortSignal,
): Promise<void> {
  if (listen === "nowhere") return;
  const { serve } = await import("../observe/server.ts");
  if (stop.aborted) return;
  const server = serve({ listen, ...about });
  stop.addEventListener("abort", () => server.stop());
}

/**
 * Chooses the backend; while none is available, tries again after 1 s to 15 s, or at SIGHUP. Undefined if `stop` comes
 * first.
 */
async function chooseInTheEnd(
  options: ChooseOptions,
  { state, log, serve }: { state: AgentState; log: Log; serve: () => void },
  wake: Wake,
  stop: AbortSignal,
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
        log.error("no backend", { error: message, retry: formatDuration(backoff.wait) });
      const seconds = (performance.now() - began) / 1000;
      state.syncEnded({ at, trigger: "start", result: "failed", seconds, message });
      serve();
    }
    await Promise.race([Bun.sleep(backoff.wait), wake.next(), stopped]);
  }
  return undefined;
}

/** Passes SIGHUP to the current activity of the agent. */
class Wake {
  wake: () => void = () => {};

  /** Calls `listener` from now on. */
  follow(listener: () => void): void {
    this.wake = listener;
  }

  /** Resolves at the next one. */
  next(): Promise<void> {
    return new Promise(resolve => this.follow(resolve));
  }
}

/** Resolves some time after the signal, so that the agent ends within a second although a program hangs. */
async function longAfter(signal: AbortSignal): Promise<void> {
  await aborted(signal);
  await Bun.sleep(LAST_SYNC_MS);
}

const LAST_SYNC_MS = 700;
/** How long an answer over the socket waits for counters and foreign rules, in milliseconds. */
const FRESH_MS = 2000;

function onlyOnce(work: () => Promise<void>): () => void {
  let begun = false;
  return () => {
    if (!begun) void work();
    begun = true;
  };
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise(resolve => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined));
  });
}
