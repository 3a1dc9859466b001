import { type ConsolaInstance, createConsola, type LogType } from "consola/core";
import { lineWriter } from "../system/output.ts";
import { printable, printableJson } from "../system/printable.ts";

/** Facts of an event: keys and values that follow the message. */
type Facts = Readonly<Record<string, string | number | boolean | undefined>>;

/** The agent's log: one line per event. */
export interface Log {
  error(message: string, facts?: Facts): void;
  warn(message: string, facts?: Facts): void;
  info(message: string, facts?: Facts): void;
  debug(message: string, facts?: Facts): void;
}

export type LogLevel = keyof Log;

/** The log's levels, and consola's level numbers. */
const LEVELS: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 3, debug: 4 };

/**
 * A log on standard error. A line is `TIME LEVEL message key=value …`, or a JSON object with the keys `time`, `level`,
 * `message` and the keys of the facts. The log never waits. If its reader stalls, lines are lost, and the log states
 * their number before its next line.
 *
 * @param write writes a line, with its line break; returns false if the line is lost
 */
export function createLog(
  level: LogLevel,
  format: "text" | "json",
  write: (line: string) => unknown = lineWriter(),
): Log {
  const formatted = format === "json" ? jsonLine : textLine;
  let lost = 0;
  const consola = createConsola({
    level: LEVELS[level],
    throttle: 0,
    reporters: [
      {
        log({ date, type, args: [message, facts] }) {
          const time = date.toISOString();
          if (
            lost > 0 &&
            write(formatted(time, "warn", "log lines lost because the reader stalled", { lost })) !== false
          )
            lost = 0;
          if (write(formatted(time, type, `${message}`, isFacts(facts) ? facts : {})) === false) lost++;
        },
      },
    ],
  });
  return consolaAsLog(consola);
}

function consolaAsLog(consola: ConsolaInstance): Log {
  return {
    error: (message, facts) => consola.error(message, facts),
    warn: (message, facts) => consola.warn(message, facts),
    info: (message, facts) => consola.info(message, facts),
    debug: (message, facts) => consola.debug(message, facts),
  };
}

function isFacts(value: unknown): value is Facts {
  return typeof value === "object" && value !== null;
}

function jsonLine(time: string, level: LogType, message: string, facts: Facts): string {
  return `${printableJson(JSON.stringify({ time, level, message, ...facts }))}\n`;
}

function textLine(time: string, level: LogType, message: string, facts: Facts): string {
  const pairs = Object.entries(facts).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}=${quoted(`${value}`)}`],
  );
  return `${time} ${level.toUpperCase().padEnd(5)} ${printable(`${message}${pairs.join("")}`)}\n`;
}

function quoted(value: string): string {
  return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
