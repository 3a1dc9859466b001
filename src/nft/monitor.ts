import { messageOf } from "../system/errors.ts";
import { type Printing, startPrinting } from "../system/printing.ts";
import { retryDelay } from "../system/timing.ts";
import { isListening } from "./listening.ts";

/** Receives events of `nft monitor`. */
export interface MonitorEvents {
  /** A change, such as `delete element ip nat s { 10.0.0.0/8 }`; cut off after 256 characters. */
  change(line: string): void;
  /** The changes so far were one transaction of a program such as `firewalld (pid 812)`. */
  committed(by: string): void;
  /** The monitor is listening. Earlier changes may be missing. */
  listening(): void;
  /** Events are missing, usually because the monitor was too slow. */
  overflowed(): void;
  /** The monitor printed too much and will be replaced. Changes may be missed until it listens. */
  interrupted(): void;
  /** The monitor ended for this reason and will be restarted. */
  failed(why: string): void;
}

/** A running monitor. */
interface RunningMonitor {
  stop(): void;
  /** Ends the process, which then needs no memory. Changes are missed until it listens again. */
  pause(): void;
  /** Starts the process again after `pause`. */
  resume(): void;
}

/**
 * Runs `nft monitor` until `stop`, and restarts it when it ends.
 *
 * Reads text because the JSON of `nft -j monitor` does not name the process behind a transaction.
 *
 * @param argv the command line that starts nft
 * @param printsMuch whether transactions of many elements are likely. Their report then costs little, for 1 MB of memory
 */
export function monitor(
  argv: readonly string[],
  events: MonitorEvents,
  printsMuch: () => boolean = () => false,
): RunningMonitor {
  let process: Monitor | undefined;
  let state: "running" | "paused" | "stopped" = "running";
  /** The number of pauses. The end of a process in a pause is not a failure. */
  let pauses = 0;
  let timer: Timer | undefined;
  let check: Timer | undefined;
  let failures = 0;
  /** Calls `listening` as soon as nft listens: it first reads all sets, 1.4 s for 100,000 elements. */
  const awaitListening = async (monitor: Monitor, began: number): Promise<void> => {
    const listens = await isListening(monitor.pid);
    if (process !== monitor) return;
    const latest = listens === undefined ? SETTLED_MS : LATEST_MS;
    if (listens || performance.now() - began >= latest) events.listening();
    else check = setTimeout(() => void awaitListening(monitor, began), CHECK_MS);
  };
  const start = async (): Promise<void> => {
    const began = performance.now();
    const before = pauses;
    let why: string | undefined = "it ended";
    try {
      const printing = await startPrinting([...argv, "monitor"], printsMuch());
      const { program } = printing;
      try {
        if (state !== "running" || pauses !== before) return; // stopped while the pipe was opened
        process = program;
        check = setTimeout(() => void awaitListening(program, began), FIRST_CHECK_MS);
        if ((await read(printing, events)) === "too much output") why = undefined;
      } finally {
        program.kill();
        printing.close();
      }
    } catch (error) {
      why = messageOf(error);
    }
    if (state === "stopped" || pauses !== before) return;
    process = undefined;
    clearTimeout(check);
    if (why === undefined) events.interrupted();
    else events.failed(why);
    const lived = why === undefined || performance.now() - began > LONGEST_WAIT_MS;
    failures = why === undefined ? 0 : lived ? 1 : failures + 1;
    const wait = failures === 0 ? 0 : retryDelay(failures, SHORTEST_WAIT_MS, LONGEST_WAIT_MS);
    timer = setTimeout(() => void start(), wait);
  };
  const end = () => {
    clearTimeout(timer);
    clearTimeout(check);
    process?.kill();
    process = undefined;
  };
  void start();
  return {
    stop() {
      state = "stopped";
      end();
    },
    pause() {
      if (state !== "running") return;
      state = "paused";
      pauses++;
      end();
      events.interrupted();
    },
    resume() {
      if (state !== "paused") return;
      state = "running";
      void start();
    },
  };
}

type Monitor = Printing["program"];

/** Milliseconds until the first look whether a monitor listens, and between two looks. */
const FIRST_CHECK_MS = 50;
const CHECK_MS = 100;
/** Milliseconds until a monitor counts as listening without /proc, and if /proc does not show its socket. */
const SETTLED_MS = 1000;
const LATEST_MS = 10_000;
const SHORTEST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;

/**
 * A monitor is replaced after it has printed this many bytes, because its memory grows with the objects that other
 * programs load. Measured: 60,000 elements are 3 MB of text and 43 MB of memory. Sets of equal size that replace each
 * other do not add to it: with 10,000 elements, 23 MB after 2 of them and after 12 (nft 1.0.6). A new monitor first
 * reads all elements.
 */
const MOST_BYTES = 32 * 1024 * 1024;

/**
 * nft writes each element separately. After this many pieces of a transaction, the agent lets nft write for some
 * milliseconds before it reads again. Measured: 10,000 elements take 6 to 26 ms of the agent's CPU instead of 100.
 */
const FEW_CHUNKS = 20;
const GATHER_MS = 5;

/** The number of characters that are kept of a line. They identify the object; the line of a set may have megabytes. */
const LINE_START = 256;

/** The start of the line that reports lost events. */
const LOST = "# ERROR";

/** The line that ends a transaction. */
const GENERATION = /^# new generation (-?\d+) by process (\d+) \((.*)\)$/;

/** Reads until the monitor ends. A monitor that has printed too much is killed between two transactions. */
async function read(
  { output, isBuffered }: Printing,
  events: MonitorEvents,
): Promise<"ended" | "too much output"> {
  const decoder = new TextDecoder();
  let rest = "";
  let isOpen = false;
  let bytes = 0;
  let chunks = 0;
  let last: number | undefined;
  for await (const chunk of output) {
    bytes += chunk.length;
    if (!isOpen) chunks = 0;
    else if (++chunks > FEW_CHUNKS && isBuffered) await Bun.sleep(GATHER_MS);
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()?.slice(0, LINE_START) ?? "";
    for (const line of lines) {
      const [, generation, pid, name] = GENERATION.exec(line) ?? [];
      isOpen = generation === undefined && !line.startsWith(LOST);
      if (isOpen) events.change(line);
      else if (generation === undefined || !follows(Number(generation), last)) events.overflowed();
      else events.committed(`${name} (pid ${pid})`);
      if (generation !== undefined) last = Number(generation);
    }
    if (bytes >= MOST_BYTES && !isOpen && rest === "") return "too much output";
  }
  return "ended";
}

/** Whether no transaction between two numbers is missing. The kernel counts in 32 bits and skips zero. */
function follows(generation: number, last: number | undefined): boolean {
  return last === undefined || (generation | 0) === ((last + 1) | 0 || 1);
}
