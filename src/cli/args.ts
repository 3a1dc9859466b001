import { closestMatch } from "../system/closest-match.ts";
import { AGENT_FLAGS, type FlagTable, noteOf, variableOf } from "./flags.ts";

/** Words that cannot be understood. The message is for the user; sysexits(3) gives 64 for it. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The text given for a flag, and where: `--config` or `IPMASQ_CONFIG`. */
export interface Given {
  readonly text: string;
  readonly by: string;
}

/** The words of a command line, sorted. */
export interface Words {
  /** Flags that were given, by name. A switch that stood alone has the text `true`. */
  readonly flags: ReadonlyMap<string, Given>;
  /** What is no flag: the command first. */
  readonly others: readonly string[];
  /** Things that are odd, but not wrong. */
  readonly warnings: readonly string[];
}

/**
 * Sorts the words of a command line by a table of flags. Both `--flag` and Go's `-flag` are flags, with
 * `=VALUE` or the next word as their value; a switch takes `=true`, `=false`, or `--no-` in front, but not the next
 * word, as in Go. Flags may stand anywhere before `--`; the last of several counts. Throws UsageError.
 *
 * Written by hand because `parseArgs` of node:util refuses `--switch=false` and takes `-masq-chain` for ten
 * flags of one letter, and because commander lets an optional value swallow the next word.
 */
export function sortWords(words: readonly string[], table: FlagTable): Words {
  const flags = new Map<string, Given>();
  const others: string[] = [];
  const left = [...words];
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    if (word === "--") {
      others.push(...left.splice(0));
      continue;
    }
    const [, written, value] = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (written === undefined) {
      others.push(word);
      continue;
    }
    const { name, negated } = lookUp(written, table);
    const { placeholder } = noteOf(table[name] ?? AGENT_FLAGS.config);
    if (placeholder === undefined) {
      if (negated && value !== undefined)
        throw new UsageError(`--${written} takes no value; leave out "=${value}"`);
      if (value === undefined && left[0] !== undefined && BOOLEAN.test(left[0]))
        throw new UsageError(`unexpected argument "${left[0]}"; write --${name}=${left[0]}`);
      flags.set(name, { text: negated ? "false" : (value ?? "true"), by: `--${name}` });
    } else {
      const text = value ?? left.shift();
      if (text === undefined) throw new UsageError(`--${name} needs a value; write --${name}=${placeholder}`);
      flags.set(name, { text, by: `--${name}` });
    }
  }
  return { flags, others, warnings: [] };
}

/** What Go's strconv.ParseBool takes. None of it is a command or an address. */
const BOOLEAN = /^(1|t|true|0|f|false)$/i;

/** For a word as in `masq-chain=X`, a remedy: Go's flag package, and so ip-masq-agent, ignores it without a word. */
export function flagMeant(word: string, table: FlagTable): string | undefined {
  const name = word.split("=", 1)[0]?.replaceAll("_", "-") ?? "";
  return word.includes("=") && Object.hasOwn(table, name) ? `did you mean "--${word}"?` : undefined;
}

/** Adds what the environment says of flags that were not given. */
export function withEnvironment(
  words: Words,
  environment: Readonly<Record<string, string | undefined>>,
): Words {
  const flags = new Map(words.flags);
  const variables = new Map(Object.keys(AGENT_FLAGS).map(name => [variableOf(name), name]));
  const warnings = [...words.warnings];
  for (const [variable, value] of Object.entries(environment)) {
    if (value === undefined || !variable.startsWith("IPMASQ_") || KUBELETS.test(variable)) continue;
    const name = variables.get(variable);
    if (name === undefined) {
      const meant = closestMatch(variable, [...variables.keys()]);
      warnings.push(`environment: ${variable} is not known${meant ? `; did you mean ${meant}?` : ""}`);
    } else if (!flags.has(name)) flags.set(name, { text: value, by: variable });
  }
  return { ...words, flags, warnings };
}

/** What kubelet sets in every container of a namespace that has a Service named ipmasq. */
const KUBELETS = /^IPMASQ_(SERVICE_|PORT($|_))/;

function lookUp(written: string, table: FlagTable): { name: string; negated: boolean } {
  const name = written === "h" ? "help" : written.replaceAll("_", "-");
  if (Object.hasOwn(table, name)) return { name, negated: false };
  const positive = name.replace(/^no-/, "");
  const schema = Object.hasOwn(table, positive) ? table[positive] : undefined;
  if (schema && positive !== name && noteOf(schema).placeholder === undefined) {
    return { name: positive, negated: true };
  }
  const meant = closestMatch(name, Object.keys(table));
  throw new UsageError(
    `unknown flag --${written}; ${meant ? `did you mean --${meant}?` : 'see "ipmasq --help"'}`,
  );
}
