import { Agent } from "../agent/agent.ts";
import { DesiredPolicy, type Settings } from "../agent/desired-policy.ts";
import { cleanUpOnExit } from "../agent/housekeeping.ts";
import { NodeLock } from "../agent/node-lock.ts";
import type { SyncRequest } from "../agent/sync-queue.ts";
import { feedWatchdog } from "../agent/watchdog.ts";
import { type ChooseOptions, chooseBackend, everyBackend } from "../backends/choose.ts";
import { Failover } from "../backends/failover.ts";
import { harmfulOf } from "../conflicts/conflict.ts";
import { ConflictReporter } from "../conflicts/reporter.ts";
import type { Identity } from "../inspect/ask-agent.ts";
import type { Listen } from "../net/listen.ts";
import { listTables } from "../nft/node-tables.ts";
import { AgentState } from "../observe/agent-state.ts";
import type { EndpointOptions } from "../observe/endpoints.ts";
import { createLog, type Log } from "../observe/log.ts";
import { policyOf } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { aborted, within } from "../system/timing.ts";
import { chooseUntilFound, exemptionFinder } from "./backend.ts";
import { type AgentFlags, command } from "./command.ts";
import { toggle } from "./flag.ts";
import { policyFlags, readPolicy } from "./policy.ts";
import { BUILD, buildText, SOURCE } from "./version.ts";

/** The klog verbosity from which debug messages are logged. */
const KLOG_DEBUG = 4;

export const run = command({
  name: "run",
  summary: "run the agent, which keeps the rules in the kernel (default)",
  description:
    "Runs the agent. It reads the config, writes the rules to the kernel, and repairs drift until SIGTERM or SIGINT. The rules stay when it ends, unless --cleanup-on-exit is set.",
  flags: { once: toggle("sync once and exit; exit code 1 if the sync fails", "false") },
  readsPolicy: true,
  examples: ["ipmasq run --enable-ipv6", "ipmasq run --once --config=./ip-masq-agent.yaml"],
  async run({ once }, flags) {
    // First, because nft runs while this process prepares the rest.
    const tables = flags.backend === "iptables" ? undefined : listTables();
    const setup = setupOf(flags, once, tables);
    if (once) return { exitCode: await syncOnce(setup) };
    await runAgent(setup);
    return { exitCode: 0 };
  },
});

interface Setup {
  readonly flags: AgentFlags;
  readonly log: Log;
  readonly state: AgentState;
  readonly settings: Settings;
  readonly choice: ChooseOptions;
}

function setupOf(flags: AgentFlags, once: boolean, tables: ChooseOptions["tables"]): Setup {
  const verbose = flags.v !== undefined && flags.v >= KLOG_DEBUG;
  const log = createLog(verbose ? "debug" : flags["log-level"], flags["log-format"]);
  const settings: Settings = {
    config: flags.config,
    missing: flags.configGiven ? (once ? "error" : "warning") : undefined,
    flags: policyFlags(flags),
    resyncInterval: flags["resync-interval"],
  };
  const at = Date.now();
  const state = new AgentState(BUILD, at, flags["node-name"] || undefined, SOURCE);
  state.interval = settings.resyncInterval ?? state.interval;
  const policy = policyOf({}, settings.flags);
  const exemption = exemptionFinder(
    policy.chain,
    async () => (await readPolicy(flags, "")).policy ?? policy,
    error => log.debug("exemptions not read", { error }),
  );
  return {
    flags,
    log,
    state,
    settings,
    choice: { requested: flags.backend, policy, exemption, untested: true, tables },
  };
}

/** The identity that the agent sends through its socket. */
function identityOf({ startedAt, backend }: AgentState): Identity {
  const since = new Date(startedAt).toISOString();
  if (!backend) return { version: BUILD.version, since };
  const { backend: name, writer, fallback } = backend;
  return { version: BUILD.version, since, backend: name, writer, fallback };
}

/** The policy in force, for commands that judge by it. */
async function policyAnswer({ policy, backend, config, conflicts }: AgentState): Promise<unknown> {
  const { encodedPolicy } = await import("../inspect/policy-json.ts");
  const name = backend?.backend;
  return {
    build: buildText(),
    backend: name,
    conflicts: harmfulOf(conflicts).length,
    ...(config && { config: { path: config.path, ok: config.ok } }),
    ...(policy && { policy: encodedPolicy(policy) }),
  };
}

/** Runs one sync. Returns the exit code. */
async function syncOnce({ flags, log, state, settings, choice }: Setup): Promise<number> {
  const lock = new NodeLock(flags["runtime-dir"], log, { "/agent": () => identityOf(state) });
  const backend = new Failover(await chooseBackend(choice), 1);
  const desired = new DesiredPolicy(settings, state, log);
  desired.prepare();
  backend.prepare(choice.tables);
  const agent = new Agent({ desired, backend, state, log, lock });
  const { reason } = backend.chosen;
  log.info("backend chosen", { backend: backend.name, writer: backend.writer, reason });
  const { result } = await agent.sync(START);
  await agent.leftoversRemoved;
  lock.release();
  return result === "failed" ? 1 : 0;
}

/** Runs the agent until SIGTERM or SIGINT. */
async function runAgent({ flags, log, state, settings, choice }: Setup): Promise<void> {
  const { stop, wake } = handleSignals();
  const conflicts = new ConflictReporter(state, log);
  const look = () => conflicts.look();
  let agent: Agent | undefined;
  const lock = new NodeLock(flags["runtime-dir"], log, {
    "/agent": () => identityOf(state),
    "/policy": () => policyAnswer(state),
    "/status": async () => {
      const { statusReport } = await import("../observe/status-report.ts");
      const counted = agent
        ?.readCounters()
        .catch(error => log.debug("counters not read", { error: messageOf(error) }));
      // `status` waits 3 s for the answer. If a program hangs, the answer has older counters and conflicts.
      await within(FRESH_MS, Promise.all([counted, look()]));
      return statusReport(state);
    },
  });
  const serve = listenOnce(flags.listen, stop, {
    state,
    log,
    findConflicts: look,
    readCounters: async () => agent?.readCounters(),
    metricsCidrLimit: flags["metrics-cidr-limit"],
  });
  const watchdog = feedWatchdog(state, log);
  stop.addEventListener("abort", () => watchdog.stop());
  const chosen = await chooseUntilFound(choice, { state, log, serve, wake, stop });
  if (chosen) {
    const backend = new Failover(chosen);
    const desired = new DesiredPolicy(settings, state, log);
    desired.prepare();
    backend.prepare(choice.tables);
    const { name, writer } = backend;
    const { reason } = chosen;
    state.backend = {
      backend: name,
      writer,
      get reason() {
        return backend.reason;
      },
      fallback: chosen.preferred !== undefined,
    };
    log.info("agent started", { ...BUILD, backend: name, writer, reason, config: settings.config });
    const running = new Agent({ desired, backend, state, log, lock });
    agent = running;
    wake.follow(() => running.requestSync());
    const newPolicy = (isFirst: boolean) => {
      if (!isFirst) return conflicts.soon();
      serve();
      void look();
      setTimeout(async () => (await import("../system/binary-pages.ts")).unmapBinary(), REST_MS).unref();
    };
    const events = { newPolicy, foreign: (where: string | undefined) => conflicts.soon(where) };
    await Promise.race([running.run(stop, events), giveUpAfter(stop)]);
    if (flags["cleanup-on-exit"]) await cleanUpOnExit(running, () => everyBackend(flags["masq-chain"]), log);
    lock.release();
  }
  log.info("agent stopped");
}

const START: SyncRequest = { triggers: ["start"], by: undefined };

/**
 * Returns a function whose first call starts to serve HTTP until `stop`. The function loads the packages that only
 * HTTP needs.
 */
function listenOnce(
  listen: Listen | "nowhere",
  stop: AbortSignal,
  about: Omit<EndpointOptions, "listen">,
): () => void {
  const start = async (address: Listen) => {
    const { serve } = await import("../observe/endpoints.ts");
    if (stop.aborted) return;
    const server = serve({ listen: address, ...about });
    stop.addEventListener("abort", () => server.stop());
  };
  let begun = false;
  return () => {
    if (begun || listen === "nowhere") return;
    begun = true;
    void start(listen);
  };
}

function handleSignals(): { readonly stop: AbortSignal; readonly wake: Wake } {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort());
  const wake = new Wake();
  process.on("SIGHUP", () => wake.wake());
  return { stop: stop.signal, wake };
}

/** Passes SIGHUP to the agent's current activity. */
class Wake {
  #listener: () => void = () => {};

  wake(): void {
    this.#listener();
  }

  /** Replaces the listener. */
  follow(listener: () => void): void {
    this.#listener = listener;
  }

  /** Resolves at the next SIGHUP. */
  next(): Promise<void> {
    return new Promise(resolve => this.follow(resolve));
  }
}

/** Resolves {@link LAST_SYNC_MS} after the signal, so that the agent ends within a second even if a program hangs. */
async function giveUpAfter(signal: AbortSignal): Promise<void> {
  await aborted(signal);
  await Bun.sleep(LAST_SYNC_MS);
}

const LAST_SYNC_MS = 700;
/** Milliseconds until the start is over, with its search for leftovers and conflicts. */
const REST_MS = 5000;
/** Milliseconds that an answer over the socket waits for counters and foreign rules. */
const FRESH_MS = 2000;
