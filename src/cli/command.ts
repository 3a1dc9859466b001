import * as v from "valibot";
import { failureOf } from "../net/parse-failure.ts";
import { type FlagValue, UsageError } from "./args.ts";
import { AGENT_FLAGS, type FlagTable, KLOG_FLAGS } from "./flags.ts";

/** What a command has to say when it ends. `main` prints it, and exits. */
export interface Outcome {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly exitCode: number;
}

/** A word that follows `ipmasq`, and what it does. */
export interface Command {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** More lines, for its own help. */
  readonly description: string;
  /** Flags of its own, beside the agent's and klog's. */
  readonly flags: FlagTable;
  /** Whether the agent's flags mean anything to it: only then its help shows them. */
  readonly readsPolicy: boolean;
  readonly examples: readonly string[];
  /** How help shows the words behind its name; undefined if it takes flags only. */
  readonly words?: string;
  /** Reads the flags, then does it. Throws UsageError for a flag's value or for a word. */
  start(given: ReadonlyMap<string, FlagValue>, words: readonly string[]): Promise<Outcome>;
}

const commonFlags = v.object({ ...AGENT_FLAGS, ...KLOG_FLAGS });

/** The agent's flags and klog's, with their values. */
export type AgentFlags = v.InferOutput<typeof commonFlags> & {
  /** Whether the config's path was given explicitly; then it must exist. */
  readonly configGiven: boolean;
};

/** Describes a command whose flags are given as a table of schemas. */
export function command<const Entries extends FlagTable & v.ObjectEntries>(description: {
  name: string;
  summary: string;
  description: string;
  flags: Entries;
  readsPolicy: boolean;
  examples: readonly string[];
  words?: string;
  run(
    own: v.InferOutput<v.ObjectSchema<Entries, undefined>>,
    agent: AgentFlags,
    words: readonly string[],
  ): Promise<Outcome>;
}): Command {
  const own = v.object(description.flags);
  return {
    ...description,
    async start(given, words) {
      return description.run(
        parsed(own, given),
        { ...parsed(commonFlags, given), configGiven: given.has("config") },
        words,
      );
    },
  };
}

/** The values of the flags that `schema` knows, out of all that were given. Throws UsageError for what is wrong. */
export function parsed<Schema extends v.GenericSchema>(
  schema: Schema,
  given: ReadonlyMap<string, FlagValue>,
): v.InferOutput<Schema> {
  const texts = Object.fromEntries([...given].map(([name, { text }]) => [name, text]));
  const result = v.safeParse(schema, texts);
  if (result.success) return result.output;
  const lines = result.issues.map(issue => {
    const name = v.getDotPath(issue) ?? "";
    const failure = failureOf(issue);
    const message = failure ? `${failure.what}; ${failure.remedy}` : issue.message;
    return `${given.get(name)?.by ?? `--${name}`}: ${message}`;
  });
  throw new UsageError(lines.join("\n"));
}
