import { isOutputDiscarded, isTerminal, toStandardOutput } from "../system/output.ts";
import { aborted } from "../system/timing.ts";
import type { Outcome } from "./command.ts";

const WATCH_MS = 2000;
/** Clears the terminal and moves the cursor to the top left corner: ED and CUP of ECMA-48. */
const CLEAR = "\x1b[2J\x1b[H";

/**
 * Prints an outcome every two seconds, or more rarely if it takes long, until SIGTERM or SIGINT, or until the reader
 * closes the pipe. Returns an outcome without output, which has the reason. On a terminal, text replaces the text
 * before it.
 */
export async function repeated(output: "text" | "json", outcome: () => Promise<Outcome>): Promise<Outcome> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  const stopped = aborted(stop.signal);
  while (!stop.signal.aborted) {
    const began = performance.now();
    const { stdout, ...failed } = await outcome();
    if (stdout === undefined) return failed;
    const isRead = toStandardOutput(output === "text" && (await isTerminal()) ? `${CLEAR}${stdout}` : stdout);
    if (!isRead || isOutputDiscarded()) break;
    await Promise.race([Bun.sleep(Math.max(WATCH_MS, 2 * (performance.now() - began))), stopped]);
  }
  return { exitCode: 0 };
}
