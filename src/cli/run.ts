import { Agent } from "../agent/agent.ts";
import { Competitors } from "../agent/competitors.ts";
import type { Settings } from "../agent/intent.ts";
import type { Due } from "../agent/triggers.ts";
import { type ChooseOptions, type Chosen, chooseBackend } from "../backends/choose.ts";
import { formatDuration } from "../net/duration.ts";
import type { Listen } from "../net/listen.ts";
import { Journal } from "../observe/journal.ts";
import { createLog, type Log } from "../observe/log.ts";
import type { ServerOptions } from "../observe/server.ts";
import { policyOf } from "../policy/policy.ts";
import { ProgramError } from "../system/program.ts";
import { command } from "./command.ts";
import { toggle } from "./flags.ts";
import { policyFlags } from "./policy.ts";
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
    const options: ChooseOptions = { wanted: flags.backend, policy, lookFirst: !once };
    const settings: Settings = {
      config: flags.config,
      missing: flags.configGiven ? (once ? "error" : "warning") : undefined,
      flags: policyFlags(flags),
      resyncInterval: flags["resync-interval"],
    };
    const journal = new Journal({ at: Date.now(), ...BUILD });
    journal.interval = settings.resyncInterval ?? journal.interval;
    if (once) {
      const { backend } = await chooseBackend(options);
      const { result } = await new Agent(settings, backend, journal, log).once(START);
      return { exitCode: result === "failed" ? 1 : 0 };
    }
    const stop = new AbortController();
    let agent: Agent | undefined;
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
    process.on("SIGHUP", () => agent?.wake());
    const competitors = new Competitors(journal, log);
    const look = () =>
      competitors.look().catch(error => log.debug("rules of others cannot be read", { error: `${error}` }));
    const http = { journal, log, refresh: async () => agent?.count(), look };
    const serve = onlyOnce(() => listen(flags.listen, http, stop.signal));
    const chosen = await chooseInTheEnd(options, { ...http, serve }, stop.signal);
    if (!chosen) return { exitCode: 0 };
    const { backend, reason } = chosen;
    journal.backend = { backend: backend.name, writer: backend.writer, reason };
    log.info("ipmasq starts", { ...BUILD, ...journal.backend, config: settings.config });
    agent = new Agent(settings, backend, journal, log);
    const begun = () => {
      serve();
      void look();
    };
    await Promise.race([agent.run(stop.signal, begun, () => competitors.soon()), longAfter(stop.signal)]);
    // The rules of an agent that this one stood by for are not its own.
    if (flags["cleanup-on-exit"] && !agent.standsBy)
      log.info("rules removed", { removed: (await backend.remove()).join(", ") });
    log.info("ipmasq ends");
    return { exitCode: 0 };
  },
});

const START: Due = { triggers: ["start"], by: undefined };

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
 * Tries again, later each time or at SIGHUP, as long as there is nothing to write with; whoever asks over HTTP is told
 * so meanwhile. Undefined if it is stopped before.
 */
async function chooseInTheEnd(
  options: ChooseOptions,
  { journal, log, serve }: { journal: Journal; log: Log; serve: () => void },
  stop: AbortSignal,
): Promise<Chosen | undefined> {
  let said = "";
  for (let wait = FIRST_RETRY_MS; !stop.aborted; wait = Math.min(2 * wait, journal.interval)) {
    const at = Date.now();
    try {
      return await chooseBackend(options);
    } catch (error) {
      if (!(error instanceof ProgramError)) throw error;
      const { message } = error;
      if (message !== said) log.error("no backend", { error: message, retry: formatDuration(wait) });
      said = message;
      journal.synced({ at, trigger: "start", result: "failed", seconds: (Date.now() - at) / 1000, message });
      serve();
    }
    const hungUp = new Promise(resolve => process.once("SIGHUP", resolve));
    await Promise.race([Bun.sleep(wait), hungUp, aborted(stop)]);
  }
  return undefined;
}

const FIRST_RETRY_MS = 1000;

/** Resolves some time after the signal: a program that hangs must not keep the agent from ending in a second. */
async function longAfter(signal: AbortSignal): Promise<void> {
  await aborted(signal);
  await Bun.sleep(LAST_SYNC_MS);
}

const LAST_SYNC_MS = 700;

function onlyOnce(work: () => Promise<void>): () => void {
  let begun = false;
  return () => {
    if (!begun) void work();
    begun = true;
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => signal.addEventListener("abort", () => resolve()));
}
