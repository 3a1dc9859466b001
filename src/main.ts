import * as v from "valibot";
import { NotAppliedError } from "./backends/backend.ts";
import { missingDashes, parseArgs, UsageError } from "./cli/args.ts";
import { type Command, type Outcome, parsed } from "./cli/command.ts";
import { COMMANDS } from "./cli/commands.ts";
import { refuseBunVariables, withEnvironment } from "./cli/environment.ts";
import { anyOf, type FlagTable, type FlagValue } from "./cli/flag.ts";
import { AGENT_FLAGS, GENERAL_FLAGS, IGNORED_FLAGS, KLOG_FLAGS, raisedFlag } from "./cli/flags.ts";
import { commandHelp, flagsHelp, overview } from "./cli/help.ts";
import { run } from "./cli/run.ts";
import { terminal } from "./cli/watch.ts";
import { closestMatch } from "./system/closest-match.ts";
import { isTerminal, lineWriter, OutputError, toStandardError, toStandardOutput } from "./system/output.ts";
import { printableLines } from "./system/printable.ts";
import { ProgramError } from "./system/program.ts";

/** Exit codes of sysexits(3): wrong usage, an internal error, and output that cannot be written. */
const EX_USAGE = 64;
const EX_SOFTWARE = 70;
const EX_IOERR = 74;

const generalSchema = v.object(GENERAL_FLAGS);
const sharedFlags: FlagTable = { ...GENERAL_FLAGS, ...AGENT_FLAGS, ...KLOG_FLAGS };
const everyFlag: FlagTable = Object.assign({}, sharedFlags, ...COMMANDS.map(({ flags }) => flags));

process.exit(print(await main(process.argv.slice(2), process.env).catch(failed)));

/** Runs the command that the arguments name. */
async function main(argv: readonly string[], environment: NodeJS.ProcessEnv): Promise<Outcome> {
  const named = COMMANDS.find(it => argv.includes(it.name));
  const own = { ...sharedFlags, ...named?.flags };
  const { flags: given, positionals } = parseArgs(argv, everyFlag, own, named?.name);
  const { flags, warnings } = withEnvironment(given, environment);
  const general = parsed(generalSchema, flags);
  const [name = "run", ...args] = general.version ? ["version"] : positionals;
  const command = name === "help" ? undefined : commandNamed(name);
  if (general.help || command === undefined) {
    return {
      stdout: help(
        positionals.find(it => it !== "help"),
        (await terminal())?.width,
      ),
      exitCode: 0,
    };
  }
  if (positionals.length === 0 && !general.version && (await isStartedByHand())) {
    const note = `to start the agent, write: ipmasq run${argv.map(it => ` ${it}`).join("")}`;
    return {
      stdout: overview(COMMANDS, (await terminal())?.width),
      notes: [note],
      exitCode: argv.length > 0 ? EX_USAGE : 0,
    };
  }
  refuseForeign(command, flags, args);
  if (command === run) refuseBunVariables(environment);
  const ignored = [...flags.keys()].filter(it => IGNORED_FLAGS.includes(it)).map(it => `--${it}`);
  const notes = ignored.length > 0 ? [`${ignored.join(", ")}: ignored; accepted for klog compatibility`] : [];
  const note = command === run ? lineWriter() : toStandardError;
  for (const line of [...warnings, ...notes, ...raisedFlag(flags.get("resync-interval"))])
    note(prefixed(line));
  return command.start(flags, args);
}

/** On a terminal, and not as a container's or a system's first process. */
async function isStartedByHand(): Promise<boolean> {
  return process.pid !== 1 && (await isTerminal());
}

function help(topic: string | undefined, room: number | undefined): string {
  if (topic === undefined) return overview(COMMANDS, room);
  return topic === "flags" ? flagsHelp(room) : commandHelp(commandNamed(topic), room);
}

function commandNamed(name: string): Command {
  const command = COMMANDS.find(it => it.name === name);
  if (command) return command;
  const dashes = missingDashes(name, everyFlag);
  if (dashes) throw new UsageError(`unexpected argument "${name}"`, dashes);
  const names = COMMANDS.map(it => it.name);
  const match = closestMatch(name, names);
  throw new UsageError(
    `unknown command "${name}"`,
    match ? `did you mean "${match}"?` : 'see "ipmasq --help"',
  );
}

/** Throws UsageError for an argument or a flag that the command does not accept. */
function refuseForeign(
  { name, placeholder, flags: own }: Command,
  flags: ReadonlyMap<string, FlagValue>,
  [first]: readonly string[],
): void {
  if (first !== undefined && placeholder === undefined) {
    const remedy = missingDashes(first, everyFlag) ?? `\`${name}\` accepts only flags`;
    throw new UsageError(`unexpected argument "${first}"`, remedy);
  }
  for (const [flag, { by }] of flags) {
    if (flag in sharedFlags || flag in own) continue;
    const owners = COMMANDS.filter(it => flag in it.flags).map(it => `\`${it.name}\``);
    throw new UsageError(`${by} is not a flag of \`${name}\``, `use it with ${anyOf(owners)}`);
  }
}

/** Reports why a command failed; for an unexpected error, with the place in the code. */
function failed(error: unknown): Outcome {
  if (error instanceof UsageError) return { notes: [error.message], exitCode: EX_USAGE };
  if (error instanceof ProgramError || error instanceof NotAppliedError) {
    return { notes: [error.message], exitCode: 1 };
  }
  if (error instanceof OutputError) return { notes: [error.message], exitCode: EX_IOERR };
  const details = error instanceof Error ? error.stack : undefined;
  return {
    notes: [`this is a bug in ipmasq; please report it\n${details ?? error}`],
    exitCode: EX_SOFTWARE,
  };
}

/** Prints an outcome and returns the exit code. A reader that closes the pipe early, such as `head`, is not an error. */
function print({ stdout = "", stderr = "", notes = [], exitCode }: Outcome): number {
  toStandardError(printableLines(stderr) + notes.map(prefixed).join(""));
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
