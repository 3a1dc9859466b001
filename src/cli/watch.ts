import type { Room } from "../inspect/columns.ts";
import { isOutputDiscarded, isTerminal, toStandardOutput } from "../system/output.ts";
import { aborted } from "../system/timing.ts";
import type { Outcome } from "./command.ts";

const WATCH_MS = 2000;

/** Returns the outcome to show; on a terminal it receives the size available for its text. */
export type Look = (room?: Room) => Promise<Outcome>;

/**
 * Shows an outcome every two seconds, or more rarely if it takes long, until SIGTERM, SIGINT or SIGHUP, until q is
 * typed, or until the reader closes the pipe. Returns an outcome without output, which has the reason. On a terminal,
 * text fills the alternate screen.
 */
export async function repeated(name: string, output: "text" | "json", look: Look): Promise<Outcome> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(signal, () => stop.abort());
  return output === "text" && (await isTerminal()) ? onScreen(name, look, stop) : printed(look, stop.signal);
}

async function printed(look: Look, stop: AbortSignal): Promise<Outcome> {
  const stopped = aborted(stop);
  while (!stop.aborted) {
    const began = performance.now();
    const { stdout, ...failed } = await look();
    if (stdout === undefined) return failed;
    if (!toStandardOutput(stdout) || isOutputDiscarded()) break;
    await Promise.race([Bun.sleep(pause(began)), stopped]);
  }
  return { exitCode: 0 };
}

async function onScreen(name: string, look: Look, stop: AbortController): Promise<Outcome> {
  const { FullScreen, terminalRoom } = await import("./terminal.ts");
  const stopped = aborted(stop.signal);
  let next = Promise.withResolvers<void>();
  const screen = new FullScreen({ refresh: () => next.resolve(), quit: () => stop.abort() });
  try {
    while (!stop.signal.aborted) {
      const began = performance.now();
      next = Promise.withResolvers();
      const { width, height } = terminalRoom();
      const outcome = await Promise.race([look({ width, height: height - 1 }), stopped]);
      if (outcome === undefined) break;
      const { stdout, ...failed } = outcome;
      if (stdout === undefined) return failed;
      const at = Date.now();
      const clock = new Date(at).toISOString().slice(11, 19);
      const headline = `ipmasq ${name}  ${clock} UTC  q: quit  space: refresh`;
      if (!screen.draw(headline, stdout.trimEnd().split("\n"))) break;
      await Promise.race([Bun.sleep(pause(began)), next.promise, stopped]);
    }
  } finally {
    screen.close();
  }
  return { exitCode: 0 };
}

/** Milliseconds until the next look. */
function pause(began: number): number {
  return Math.max(WATCH_MS, 2 * (performance.now() - began));
}

/** The available size of the terminal; undefined if standard output is not a terminal. */
export async function terminal(): Promise<Room | undefined> {
  if (!(await isTerminal())) return undefined;
  const { terminalRoom } = await import("./terminal.ts");
  return terminalRoom();
}
