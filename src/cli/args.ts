import { closestMatch } from "../system/closest-match.ts";
import { withRemedy } from "../system/errors.ts";
import { anyOf, type FlagTable, type FlagValue, noteOf } from "./flag.ts";
import { AGENT_FLAGS, SHORT_FLAGS } from "./flags.ts";

/** The command line or environment is wrong. The message is for the user; the exit code is 64, as in sysexits(3). */
export class UsageError extends Error {
  override readonly name = "UsageError";

  constructor(what: string, remedy = "") {
    super(withRemedy({ what, remedy }));
  }
}

export interface ParsedArgs {
  /** The given flags by name. A switch without a value has the text `true`. */
  readonly flags: ReadonlyMap<string, FlagValue>;
  /** All other arguments, the command first. */
  readonly positionals: readonly string[];
}

/**
 * Splits a command line into flags and positional arguments. Flags start with `--` or, as in Go, with `-`, and take
 * their value after `=` or as the next argument. A switch accepts `=true`, `=false` or the prefix `--no-`, but not the
 * next argument, as in Go. Flags may stand anywhere before `--`; if a flag is repeated, the last value counts. Throws
 * UsageError; for a misspelt flag it suggests one of `own`, the flags of the command, if possible.
 *
 * @param command the name of the command, whose help it suggests otherwise
 *
 * No library fits: `parseArgs` of node:util rejects `--switch=false` and reads `-masq-chain` as ten one-letter flags;
 * commander lets an optional value consume the next argument.
 */
export function parseArgs(
  argv: readonly string[],
  table: FlagTable,
  own = table,
  command?: string,
): ParsedArgs {
  const flags = new Map<string, FlagValue>();
  const positionals: string[] = [];
  const left = [...argv];
  for (let arg = left.shift(); arg !== undefined; arg = left.shift()) {
    if (arg === "--") {
      positionals.push(...left.splice(0));
      continue;
    }
    const [, written, value] = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(arg) ?? [];
    if (written === undefined) {
      positionals.push(arg);
      continue;
    }
    const { name, negated } = lookUp(written, table, own, command);
    const by = Object.hasOwn(SHORT_FLAGS, written) ? `-${written}` : `--${name}`;
    const { placeholder } = noteOf(table[name] ?? AGENT_FLAGS.config);
    if (placeholder === undefined) {
      if (negated && value !== undefined)
        throw new UsageError(`--${written} takes no value`, `leave out "=${value}"`);
      if (value === undefined && left[0] !== undefined && BOOLEAN.test(left[0]))
        throw new UsageError(`unexpected argument "${left[0]}"`, `write --${name}=${left[0]}`);
      flags.set(name, { text: negated ? "false" : (value ?? "true"), by });
    } else {
      const text = value ?? left.shift();
      if (text === undefined)
        throw new UsageError(`--${name} needs a value`, `write --${name}=${placeholder}`);
      flags.set(name, { text, by });
    }
  }
  return { flags, positionals };
}

/** The values that Go's strconv.ParseBool accepts. No command and no address looks like one of them. */
const BOOLEAN = /^(1|t|true|0|f|false)$/i;

/** A remedy for an argument such as `masq-chain=X`, which Go's flag package, and so ip-masq-agent, silently ignores. */
export function missingDashes(arg: string, table: FlagTable): string | undefined {
  const name = arg.split("=", 1)[0]?.replaceAll("_", "-") ?? "";
  return arg.includes("=") && Object.hasOwn(table, name) ? `did you mean "--${arg}"?` : undefined;
}

function lookUp(
  written: string,
  table: FlagTable,
  own: FlagTable,
  command: string | undefined,
): { name: string; negated: boolean } {
  const name = SHORT_FLAGS[written] ?? written.replaceAll("_", "-");
  if (Object.hasOwn(table, name)) return { name, negated: false };
  const positive = name.replace(/^no-/, "");
  const schema = Object.hasOwn(table, positive) ? table[positive] : undefined;
  if (schema && positive !== name && noteOf(schema).placeholder === undefined) {
    return { name: positive, negated: true };
  }
  throw new UsageError(
    `unknown flag ${written.length === 1 ? "-" : "--"}${written}`,
    suggestion(name, Object.keys(own)) ??
      suggestion(name, Object.keys(table), ", a flag of other commands") ??
      `see "ipmasq ${command === undefined ? "" : `${command} `}--help"`,
  );
}

/** The flags that a misspelt name may mean: the closest, or for one letter those that begin with it. */
function suggestion(name: string, flags: readonly string[], note = ""): string | undefined {
  const meant = name.length === 1 ? flags.filter(it => it.startsWith(name)) : [closestMatch(name, flags)];
  const named = meant.flatMap(it => (it === undefined ? [] : [`--${it}`]));
  return named.length === 0 || named.length > MOST_SUGGESTIONS
    ? undefined
    : `did you mean ${anyOf(named)}${note}?`;
}

const MOST_SUGGESTIONS = 4;
