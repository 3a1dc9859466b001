import { appendFileSync } from "node:fs";
import { NotAppliedError } from "./backends/backend.ts";
import { sortWords, UsageError, withEnvironment } from "./cli/args.ts";
import { check } from "./cli/check.ts";
import { cleanup } from "./cli/cleanup.ts";
import type { Command, Outcome } from "./cli/command.ts";
import { diff } from "./cli/diff.ts";
import { explain } from "./cli/explain.ts";
import { AGENT_FLAGS, type FlagTable, ignoredKlogFlags, KLOG_FLAGS, toggle } from "./cli/flags.ts";
import { commandHelp, overview } from "./cli/help.ts";
import { render } from "./cli/render.ts";
import { run } from "./cli/run.ts";
import { schema } from "./cli/schema.ts";
import { status } from "./cli/status.ts";
import { version } from "./cli/version.ts";
import { nearest } from "./config/nearest.ts";
import { toStandardError } from "./observe/log.ts";
import { ProgramError } from "./system/program.ts";

const commands = [run, status, explain, diff, check, render, cleanup, schema, version];

/** sysexits(3): the command was used wrongly; it could not print. */
const EX_USAGE = 64;
const EX_IOERR = 74;

/** Flags that stand for themselves. */
const generalFlags = {
  help: toggle("print help", "false"),
  version: toggle("print the version", "false"),
};

process.exit(print(await main(process.argv.slice(2), process.env).catch(failed)));

/** Finds the command that is meant, and lets it run. */
async function main(argv: readonly string[], environment: NodeJS.ProcessEnv): Promise<Outcome> {
  const shared: FlagTable = { ...generalFlags, ...AGENT_FLAGS, ...KLOG_FLAGS };
  const everyFlag: FlagTable = Object.assign({}, shared, ...commands.map(({ flags }) => flags));
  const { flags, others, warnings } = withEnvironment(sortWords(argv, everyFlag), environment);
  const [word = "run", ...surplus] = flags.has("version") ? ["version"] : others;
  const command = word === "help" ? undefined : commandNamed(word);
  if (flags.has("help") || command === undefined) {
    const named = others.find(it => it !== "help");
    return { stdout: named ? commandHelp(commandNamed(named)) : overview(commands), exitCode: 0 };
  }
  if (surplus[0] !== undefined && command.words === undefined) {
    throw new UsageError(`"${surplus[0]}" is one word too many; ipmasq ${word} takes flags only`);
  }
  for (const [name, { by }] of flags) {
    if (!(name in shared) && !(name in command.flags)) {
      const takers = commands.filter(it => name in it.flags).map(it => `ipmasq ${it.name}`);
      throw new UsageError(`${by} is no flag of ipmasq ${word}; ${takers.join(" and ")} has it`);
    }
  }
  const idle = ignoredKlogFlags(flags.keys());
  const notes =
    idle.length > 0 ? [`${idle.map(name => `--${name}`).join(", ")}: klog's flags have no effect here`] : [];
  for (const line of [...warnings, ...notes]) toStandardError(prefixed(line));
  return command.start(flags, surplus);
}

function commandNamed(word: string): Command {
  const command = commands.find(({ name }) => name === word);
  if (command) return command;
  const meant = nearest(
    word,
    commands.map(({ name }) => name),
  );
  throw new UsageError(
    `unknown command "${word}"; ${meant ? `did you mean "${meant}"?` : 'see "ipmasq --help"'}`,
  );
}

/** Says why it did not work. Only what nobody expected shows where in the code it happened. */
function failed(error: unknown): Outcome {
  if (error instanceof UsageError) return { stderr: prefixed(error.message), exitCode: EX_USAGE };
  if (error instanceof ProgramError || error instanceof NotAppliedError) {
    return { stderr: prefixed(error.message), exitCode: 1 };
  }
  const details = error instanceof Error ? error.stack : undefined;
  return { stderr: prefixed(`this is a bug in ipmasq; please report it\n${details ?? error}`), exitCode: 70 };
}

/**
 * Prints to the end of what is there (`Bun.write` empties a file that it has nothing to add to), and returns the exit
 * code. A reader that went away, as `head` does, has all that it wanted.
 */
function print({ stdout = "", stderr = "", exitCode }: Outcome): number {
  toStandardError(stderr);
  try {
    appendFileSync(1, stdout);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EPIPE") return exitCode;
    toStandardError(prefixed(`cannot print: ${error instanceof Error ? error.message : error}`));
    return EX_IOERR;
  }
  return exitCode;
}

function prefixed(message: string): string {
  return message
    .split("\n")
    .map(line => `ipmasq: ${line}\n`)
    .join("");
}
