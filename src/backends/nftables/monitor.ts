import { messageOf } from "../../system/errors.ts";
import { LastSaid } from "../../system/last-said.ts";
import { retryDelay } from "../../system/timing.ts";
import type { Watch, Watcher } from "../backend.ts";
import { type Look, poll } from "../poll.ts";
import { TABLE } from "./table.ts";

/**
 * Reports changes in the kernel by `nft monitor`. A monitor that ends is started again; until it listens, our own rules
 * are looked at each second.
 *
 * It is read as text because the JSON of `nft -j monitor` does not say whose a transaction was.
 *
 * @param ours tests lines of `nft monitor`, such as `delete element ip nat s { 10.0.0.0/8 }`
 * @param look how changes are found while no monitor runs
 */
export function watchTransactions(
  argv: readonly string[],
  ours: Pick<RegExp, "test">,
  look: Look,
  { changed, lost, foreign }: Watcher,
): Watch {
  let monitor: Bun.Subprocess<"ignore", "pipe", "ignore"> | undefined;
  let stopped = false;
  let timer: Timer | undefined;
  let settled: Timer | undefined;
  let polling: Watch | undefined;
  const said = new LastSaid();
  const tell = (why: string | undefined) => {
    if (said.isNews(why)) lost(why);
  };
  /** Called once the monitor listens: stops polling, and reports changes that may have been missed. */
  const listening = () => {
    polling?.stop();
    polling = undefined;
    tell(undefined);
    changed();
  };
  let failures = 0;
  const start = async (): Promise<void> => {
    const began = performance.now();
    let why: string | undefined = "it ended";
    clearTimeout(settled);
    settled = setTimeout(listening, SETTLED_MS);
    try {
      monitor = Bun.spawn([...argv, "monitor"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
      if (await follow(monitor, ours, changed, foreign)) why = undefined;
    } catch (error) {
      why = messageOf(error);
    }
    if (stopped) return;
    clearTimeout(settled);
    if (why !== undefined) {
      if (!polling) changed(); // for all that was not seen since it ended, or before it listened
      polling ??= poll(look, changed);
      tell(`nft monitor fails (${why}), so the rules are checked each second`);
    }
    const lived = why === undefined || performance.now() - began > LONGEST_WAIT_MS;
    failures = why === undefined ? 0 : lived ? 1 : failures + 1;
    const wait = failures === 0 ? 0 : retryDelay(failures, SHORTEST_WAIT_MS, LONGEST_WAIT_MS);
    timer = setTimeout(() => void start(), wait);
  };
  void start();
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
      clearTimeout(settled);
      polling?.stop();
      monitor?.kill();
    },
  };
}

/** By then a started monitor listens; it does not report that. */
const SETTLED_MS = 1000;
const SHORTEST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;

/**
 * Bytes that a monitor may print before it is replaced: its memory grows with what other programs load (60,000
 * elements: 3 MB of text, and 43 MB of memory).
 */
const MOST_BYTES = 1024 * 1024;

/** Resolves when the monitor ends: true if it was ended because of MOST_BYTES. */
async function follow(
  monitor: Bun.Subprocess<"ignore", "pipe", "ignore">,
  ours: Pick<RegExp, "test">,
  changed: (by?: string) => void,
  foreign: Watcher["foreign"],
): Promise<boolean> {
  const decoder = new TextDecoder();
  let rest = "";
  let touched = false;
  let bytes = 0;
  for await (const chunk of monitor.stdout) {
    bytes += chunk.length;
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()?.slice(0, LINE_START) ?? "";
    for (const line of lines) {
      const [, pid, name] = GENERATION.exec(line) ?? [];
      if (name === undefined) {
        touched ||= ours.test(line);
        const change = foreignChange(line);
        if (change) foreign(change.where);
      } else {
        if (touched) changed(`${name} (pid ${pid})`);
        touched = false;
      }
    }
    if (bytes < MOST_BYTES || touched || rest !== "") continue;
    monitor.kill();
    return true;
  }
  return false;
}

/** What ends a transaction. */
const GENERATION = /^# new generation \d+ by process (\d+) \((.*)\)$/;

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

/** Characters of a line that suffice to identify its object: a set's line may have megabytes. */
const LINE_START = 256;
