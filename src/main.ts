import * as v from "valibot";
import { NotAppliedError } from "./backends/backend.ts";
import { missingDashes, parseArgs, UsageError } from "./cli/args.ts";
import { check } from "./cli/check.ts";
import { cleanup } from "./cli/cleanup.ts";
import { type Command, type Outcome, parsed } from "./cli/command.ts";
import { diff } from "./cli/diff.ts";
import { refuseBunVariables, withEnvironment } from "./cli/environment.ts";
import { explain } from "./cli/explain.ts";
import {
  AGENT_FLAGS,
  anyOf,
  type FlagTable,
  ignoredKlogFlags,
  KLOG_FLAGS,
  raisedFlag,
  toggle,
} from "./cli/flags.ts";
import { commandHelp, overview } from "./cli/help.ts";
import { render } from "./cli/render.ts";
import { run } from "./cli/run.ts";
import { schema } from "./cli/schema.ts";
import { status } from "./cli/status.ts";
import { version } from "./cli/version.ts";
import { closestMatch } from "./system/closest-match.ts";
import { lineWriter, OutputError, toStandardError, toStandardOutput } from "./system/output.ts";
import { printableLines } from "./system/printable.ts";
import { ProgramError } from "./system/program.ts";

const commands = [run, status, explain, diff, check, render, cleanup, schema, version];

/** sysexits(3): the command was used wrongly; it could not print. */
const EX_USAGE = 64;
const EX_IOERR = 74;

/** Flags that stand for a command. */
const generalFlags = {
  help: toggle("print help", "false"),
  version: toggle("print the version", "false"),
};
const generalSchema = v.object(generalFlags);

process.exit(print(await main(process.argv.slice(2), process.env).catch(failed)));

/** Finds the command that is meant, and lets it run. */
async function main(argv: readonly string[], environment: NodeJS.ProcessEnv): Promise<Outcome> {
  const shared: FlagTable = { ...generalFlags, ...AGENT_FLAGS, ...KLOG_FLAGS };
  const everyFlag: FlagTable = Object.assign({}, shared, ...commands.map(({ flags }) => flags));
  const { flags: given, positionals } = parseArgs(argv, everyFlag);
  const { flags, warnings } = withEnvironment(given, environment);
  const general = parsed(generalSchema, flags);
  const [word = "run", ...surplus] = general.version ? ["version"] : positionals;
  const command = word === "help" ? undefined : commandNamed(word, everyFlag);
  if (general.help || command === undefined) {
    const named = positionals.find(it => it !== "help");
    return { stdout: named ? commandHelp(commandNamed(named, everyFlag)) : overview(commands), exitCode: 0 };
  }
  if (surplus[0] !== undefined && command.words === undefined) {
    throw new UsageError(
      `unexpected argument "${surplus[0]}"; ${missingDashes(surplus[0], everyFlag) ?? `\`${word}\` accepts only flags`}`,
    );
  }
  for (const [name, { by }] of flags) {
    if (!(name in shared) && !(name in command.flags)) {
      const takers = commands.filter(it => name in it.flags).map(it => `\`${it.name}\``);
      throw new UsageError(`${by} is not a flag of \`${word}\`; use it with ${anyOf(takers)}`);
    }
  }
  if (command === run) refuseBunVariables(environment);
  const idle = ignoredKlogFlags(flags.keys());
  const notes =
    idle.length > 0 ? [`${idle.map(name => `--${name}`).join(", ")}: klog's flags have no effect here`] : [];
  const note = command === run ? lineWriter() : toStandardError;
  for (const line of [...warnings, ...notes, ...raisedFlag(flags.get("resync-interval"))])
    note(prefixed(line));
  return command.start(flags, surplus);
}

function commandNamed(word: string, everyFlag: FlagTable): Command {
  const command = commands.find(({ name }) => name === word);
  if (command) return command;
  const flag = missingDashes(word, everyFlag);
  if (flag) throw new UsageError(`unexpected argument "${word}"; ${flag}`);
  const meant = closestMatch(
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
  if (error instanceof OutputError) return { stderr: prefixed(error.message), exitCode: EX_IOERR };
  const details = error instanceof Error ? error.stack : undefined;
  return { stderr: prefixed(`this is a bug in ipmasq; please report it\n${details ?? error}`), exitCode: 70 };
}

/** Prints, and returns the exit code. A reader that closed the pipe, as `head` does, has all that it wanted. */
function print({ stdout = "", stderr = "", exitCode }: Outcome): number {
  toStandardError(printableLines(stderr));
  try {
    toStandardOutput(stdout);
    return exitCode;
  } catch (error) {
    if (!(error instanceof OutputError)) throw error;
    toStandardError(prefixed(error.message));
    return EX_IOERR;
  }
}

function prefixed(message: string): string {
  return printableLines(message)
    .split("\n")
    .map(line => `ipmasq: ${line}\n`)
    .join("");
}
