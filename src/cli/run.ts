import { runAgent, type Settings, syncOnce } from "../agent/agent.ts";
import { NftablesBackend } from "../backends/nftables/backend.ts";
import { createLog } from "../observe/log.ts";
import { UsageError } from "./args.ts";
import { type AgentFlags, command } from "./command.ts";
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
    const settings = settingsOf(flags);
    if (once) return { exitCode: (await syncOnce(settings, backend, log)) ? 0 : 1 };
    log.info("ipmasq starts", { ...BUILD, backend: backend.name, config: settings.config });
    const stop = new AbortController();
    process.once("SIGTERM", () => stop.abort());
    process.once("SIGINT", () => stop.abort());
    await runAgent(settings, backend, log, stop.signal);
    log.info("ipmasq ends");
    return { exitCode: 0 };
  },
});

function settingsOf(flags: AgentFlags): Settings {
  return {
    config: flags.config,
    flags: policyFlags(flags),
    resyncInterval: flags["resync-interval"],
    cleanupOnExit: flags["cleanup-on-exit"],
  };
}
