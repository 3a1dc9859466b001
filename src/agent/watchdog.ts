import type { Watch } from "../backends/backend.ts";
import type { AgentState } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import { messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { run } from "../system/program.ts";

/**
 * Notifies systemd's watchdog while the agent's loop is alive, if the unit sets WatchdogSec.
 *
 * It runs systemd-notify, a part of systemd, because Bun cannot send to the datagram socket of sd_notify(3). Each
 * notification takes 4 ms of CPU, and there are three per period. The unit needs NotifyAccess=all.
 */
export function feedWatchdog(
  state: AgentState,
  log: Log,
  { WATCHDOG_USEC, NOTIFY_SOCKET }: NodeJS.ProcessEnv = process.env,
): Watch {
  const period = Number(WATCHDOG_USEC ?? 0) / 1000;
  if (!(period > 0) || !NOTIFY_SOCKET) return { stop: () => {} };
  const problem = new LastSaid();
  const feed = async () => {
    if (state.stalled !== undefined) return;
    try {
      const { exitCode, stderr } = await run(["systemd-notify", "WATCHDOG=1"], { deadline: period });
      if (exitCode !== 0) throw new Error(stderr.trim());
      problem.isNews(undefined);
    } catch (error) {
      const reason = messageOf(error);
      const remedy = "install systemd-notify, or set WatchdogSec=0 in the unit";
      if (problem.isNews(reason)) log.error("cannot notify systemd's watchdog", { error: reason, remedy });
    }
  };
  const timer = setInterval(() => void feed(), period / 3);
  return { stop: () => clearInterval(timer) };
}
