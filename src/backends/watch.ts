import { monitor } from "../nft/monitor.ts";
import { LastSaid } from "../system/last-said.ts";
import type { Watch, Watcher } from "./backend.ts";
import { TABLE } from "./ownership.ts";
import { type Look, poll } from "./poll.ts";

/**
 * Reports changes in the kernel by `nft monitor`. While no monitor listens, our own rules are polled.
 *
 * @param nft how nft is called
 * @param ours tests lines of `nft monitor`, such as `delete element ip nat s { 10.0.0.0/8 }`
 */
export function watchTransactions(
  nft: readonly string[],
  ours: Pick<RegExp, "test">,
  look: Look,
  { changed, lost, foreign }: Watcher,
): Watch {
  const said = new LastSaid();
  const tell = (why: string | undefined) => {
    if (said.isNews(why)) lost(why);
  };
  let touched = false;
  let polling: Watch | undefined;
  const stopPolling = () => {
    polling?.stop();
    polling = undefined;
  };
  const running = monitor(nft, {
    change(line) {
      touched ||= ours.test(line);
      const change = foreignChange(line);
      if (change) foreign(change.where);
    },
    committed(by) {
      if (touched) changed(by);
      touched = false;
    },
    listening() {
      stopPolling();
      tell(undefined);
      changed(); // perhaps, before it listened
    },
    failed(why) {
      touched = false;
      if (!polling) changed(); // perhaps, since it ended
      polling ??= poll(look, changed);
      tell(`nft monitor fails (${why}), so the rules are checked each second`);
    },
  });
  return {
    stop() {
      running.stop();
      stopPolling();
    },
  };
}

/** The place of a change of rules that may be foreign, from a line of the monitor; undefined for other lines. */
export function foreignChange(line: string): { readonly where: string | undefined } | undefined {
  const [, verb, kind, family = "", table = "", chain] = CHANGE.exec(line) ?? [];
  if (kind === undefined || (table === TABLE && family !== "inet")) return undefined;
  if (kind === "rule") return { where: `${family} ${table} ${chain}` };
  if (verb !== "delete") return BASE.test(line) ? { where: undefined } : undefined;
  return { where: kind === "table" ? `${family} ${table}` : `${family} ${table} ${chain}` };
}

const CHANGE = /^(add|insert|replace|delete) (rule|chain|table) (\S+) (\S+)(?: (\S+))?/;
const BASE = /^add chain .*\btype nat hook postrouting\b/;
