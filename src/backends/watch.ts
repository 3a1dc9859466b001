import { monitor } from "../nft/monitor.ts";
import { LastSaid } from "../system/last-said.ts";
import { IN_SYNC, type PollTarget, type Watch, type Watcher } from "./backend.ts";
import { Memory } from "./memory.ts";
import { TABLE } from "./ownership.ts";

/**
 * Reports changes in the kernel by `nft monitor`. While the monitor does not run, polls our own rules.
 *
 * @param nft the command line that starts nft
 * @param ours tests lines of `nft monitor`, such as `delete element ip nat s { 10.0.0.0/8 }`
 * @param memory the memory of a backend that remembers our rules; transactions of that backend are not reported
 * @param printsMuch whether transactions of many elements are likely; see {@link monitor}
 */
export function watchTransactions(
  nft: readonly string[],
  ours: Pick<RegExp, "test">,
  target: PollTarget,
  { changed, lost, foreign }: Watcher,
  memory: Memory<unknown, unknown> = new Memory(),
  printsMuch?: () => boolean,
): Watch {
  memory.onDoubt = changed;
  const said = new LastSaid();
  const report = (why: string | undefined) => {
    if (said.isNews(why)) lost(why);
  };
  let touched = false;
  /** Whether the monitor listened before, and ended. */
  let isBlind = false;
  let polling: Watch | undefined;
  const stopPolling = () => {
    polling?.stop();
    polling = undefined;
  };
  const running = monitor(
    nft,
    {
      change(line) {
        if (ours.test(line)) {
          touched = true;
          memory.line(line);
        }
        const change = foreignChange(line);
        if (change) foreign(change.where);
      },
      committed(by) {
        if (touched && !memory.reported()) changed(by);
        touched = false;
      },
      listening() {
        stopPolling();
        memory.isWatched = true;
        report(undefined);
        changed(); // perhaps, before the monitor listened
        if (isBlind) foreign(undefined);
        isBlind = false;
      },
      overflowed() {
        touched = false;
        memory.forget();
        changed(); // perhaps
        foreign(undefined);
      },
      interrupted() {
        isBlind = true;
        touched = false;
        memory.isWatched = false;
      },
      failed(why) {
        isBlind = true;
        touched = false;
        memory.isWatched = false;
        if (!polling) changed(); // perhaps, after the monitor ended
        polling ??= poll(target, changed);
        report(`lost the nftables event stream (nft monitor: ${why}); checking the rules every second`);
      },
    },
    printsMuch,
  );
  memory.onPause = isPaused => (isPaused ? running.pause() : running.resume());
  return {
    stop() {
      memory.onPause = () => {};
      running.stop();
      stopPolling();
      memory.isWatched = false;
    },
  };
}

/** Where a line of the monitor reports a change of rules that may be foreign; undefined for other lines. */
export function foreignChange(line: string): { readonly where: string | undefined } | undefined {
  const [, verb, kind, family = "", table = "", chain] = CHANGE.exec(line) ?? [];
  if (kind === undefined || (table === TABLE && family !== "inet")) return undefined;
  if (kind === "rule") return { where: `${family} ${table} ${chain}` };
  const isTable = kind === "table"; // a new table, or one that wakes or becomes dormant
  if (verb !== "delete" && !isTable) return BASE.test(line) ? { where: undefined } : undefined;
  return { where: isTable ? `${family} ${table}` : `${family} ${table} ${chain}` };
}

const CHANGE = /^(add|insert|replace|delete) (rule|chain|table) (\S+) (\S+)(?: (\S+))?/;
const BASE = /^add chain .*\btype nat hook postrouting\b/;

/** Milliseconds between checks. Each check takes 3 to 10 ms of processor time per family. */
export const POLL_MS = 1000;

/** A slow check, such as of a large table of iptables-legacy, delays the next check by this factor at most. */
const LONGEST_DELAY = 3;

/**
 * Finds changes by polling. Calls `changed` for each check that finds drift. When checks start to fail, calls it once,
 * so that a sync reports the reason.
 */
export function poll({ fingerprint, plan }: PollTarget, changed: () => void, every = POLL_MS): Watch {
  /** The fingerprint at the last check without drift. */
  let lastInSync: string | undefined;
  /** True at first: the sync that began at the same time reports its own failure. */
  let failing = true;
  let stopped = false;
  let timer: Timer | undefined;
  const hasDrift = async () => {
    const now = await fingerprint();
    if (now !== IN_SYNC && now !== lastInSync && (await plan())?.inSync === false) return true;
    lastInSync = now;
    return false;
  };
  const check = async () => {
    const began = performance.now();
    let needsSync: boolean;
    try {
      needsSync = await hasDrift();
      failing = false;
    } catch {
      needsSync = !failing;
      failing = true;
    }
    if (stopped) return;
    if (needsSync) changed();
    const took = performance.now() - began;
    timer = setTimeout(check, Math.min(Math.max(every, 10 * took), LONGEST_DELAY * every));
  };
  void check();
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
