import { Agent } from "../agent/agent.ts";
import { NftablesBackend } from "../backends/nftables/backend.ts";
import { Journal } from "../observe/journal.ts";
import { createLog } from "../observe/log.ts";
import { UsageError } from "./args.ts";
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
    if (flags.listen !== "")
      throw new UsageError("--listen: this version serves nothing yet; leave the flag out");
    if (flags.backend === "iptables") {
      throw new UsageError("--backend: this version writes nftables only; leave the flag out");
    }
    const verbose = flags.v !== undefined && flags.v >= KLOG_DEBUG;
    const log = createLog(verbose ? "debug" : flags["log-level"], flags["log-format"]);
    const backend = new NftablesBackend();
    const journal = new Journal({ at: Date.now(), ...BUILD, backend: backend.name, backendReason: "" });
    const settings = {
      config: flags.config,
      flags: policyFlags(flags),
      resyncInterval: flags["resync-interval"],
    };
    const agent = new Agent(settings, backend, journal, log);
    if (once) {
      const { result } = await agent.once({ triggers: ["start"], by: undefined });
      return { exitCode: result === "failed" ? 1 : 0 };
    }
    log.info("ipmasq starts", { ...BUILD, backend: backend.name, config: settings.config });
    const stop = new AbortController();
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
    process.on("SIGHUP", () => agent.wake());
    await Promise.race([agent.run(stop.signal, () => {}), longAfter(stop.signal)]);
    if (flags["cleanup-on-exit"]) log.info("rules removed", { removed: (await backend.remove()).join(", ") });
    log.info("ipmasq ends");
    return { exitCode: 0 };
  },
});

/** Resolves some time after the signal: a program that hangs must not keep the agent from ending in a second. */
async function longAfter(signal: AbortSignal): Promise<void> {
  await new Promise<void>(resolve => signal.addEventListener("abort", () => resolve()));
  await Bun.sleep(LAST_SYNC_MS);
}

const LAST_SYNC_MS = 700;
