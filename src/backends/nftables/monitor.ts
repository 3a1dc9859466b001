import type { Watch } from "../backend.ts";
import { TABLE } from "./table.ts";

/**
 * Calls `changed` after each transaction that changed what `ours` matches, our own too, with the program that
 * made it as in `firewalld (pid 812)`. `ours` is tried on the lines of `nft monitor`, as in `delete element ip
 * nat s { 10.0.0.0/8 }`. Transactions that may change who else translates addresses are told to `strangers`. A
 * monitor that ends is started again; `lost` is told why, once for each reason.
 *
 * It is read as text because the JSON of `nft -j monitor` does not say whose a transaction was.
 */
export function watchTransactions(
  argv: readonly string[],
  ours: RegExp,
  changed: (by?: string) => void,
  lost: (why: string) => void,
  strangers: () => void,
): Watch {
  let monitor: Bun.Subprocess<"ignore", "pipe", "ignore"> | undefined;
  let stopped = false;
  let timer: Timer | undefined;
  let settled: Timer | undefined;
  let told = "";
  const start = async (wait: number): Promise<void> => {
    const began = performance.now();
    let why = "nft monitor ended";
    clearTimeout(settled);
    settled = setTimeout(() => changed(), SETTLED_MS); // for all that happened before it listened
    try {
      monitor = Bun.spawn([...argv, "monitor"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
      if (await follow(monitor, ours, changed, strangers)) why = "";
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
    if (stopped) return;
    const lived = why === "" || performance.now() - began > LONGEST_WAIT_MS;
    if (lived) told = "";
    if (why !== told) lost(why);
    told = why;
    const next = lived ? SHORTEST_WAIT_MS : Math.min(2 * wait, LONGEST_WAIT_MS);
    timer = setTimeout(
      () => {
        void start(next);
        changed(); // for all that was not seen meanwhile
      },
      why === "" ? 0 : wait,
    );
  };
  void start(SHORTEST_WAIT_MS);
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
      clearTimeout(settled);
      monitor?.kill();
    },
  };
}

/** Until then a monitor that was started listens, though it does not say so. */
const SETTLED_MS = 1000;
const SHORTEST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;

/**
 * How much a monitor may print, in bytes, before another one takes its place: it keeps what strangers load (60,000
 * elements: 3 MB of text, and 43 MB of memory that stay).
 */
const MOST_BYTES = 1024 * 1024;

/** Resolves when the monitor ends: true if we ended it because it had printed enough. */
async function follow(
  monitor: Bun.Subprocess<"ignore", "pipe", "ignore">,
  ours: RegExp,
  changed: (by?: string) => void,
  strangers: () => void,
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
        if (TRANSLATES.test(line) && !line.includes(` ${TABLE} `)) strangers();
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

/** A rule that translates source addresses, or one that goes, which is told without what it did. */
const TRANSLATES = /^(add|insert|replace) rule .*\b(masquerade|snat)\b|^delete (rule|chain|table) /i;

/** As much of a line as tells whose it is: a set's may have megabytes. */
const LINE_START = 256;
