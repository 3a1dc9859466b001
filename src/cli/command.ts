import * as v from "valibot";
import { failureOf } from "../net/parse-failure.ts";
import { withRemedy } from "../system/errors.ts";
import { UsageError } from "./args.ts";
import type { FlagTable, FlagValue } from "./flag.ts";
import { AGENT_FLAGS, KLOG_FLAGS, POLICY_FLAGS } from "./flags.ts";

/** The result of a command, which `main` prints before it exits. */
export interface Outcome {
  readonly stdout?: string;
  /** Problems, one per line, which start with a place, such as `config.yaml:3:5: …`. */
  readonly stderr?: string;
  /** Messages for standard error; each is printed as `ipmasq: MESSAGE`. */
  readonly notes?: readonly string[];
  readonly exitCode: number;
}

/** A command such as `ipmasq check`. */
export interface Command {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** A paragraph, for the command's own help. */
  readonly description: string;
  /** The command's own flags. All commands also accept the flags of the agent and of klog. */
  readonly flags: FlagTable;
  /** Whether the agent's flags affect the command; `agent` if it asks the active agent for its policy. */
  readonly readsPolicy: boolean | "agent";
  readonly examples: readonly string[];
  /** The placeholder for arguments in help; undefined if the command accepts only flags. */
  readonly placeholder?: string;
  /** Parses the values of the flags and runs the command. Throws UsageError for a wrong value or argument. */
  start(given: ReadonlyMap<string, FlagValue>, args: readonly string[]): Promise<Outcome>;
}

const commonFlags = v.object({ ...AGENT_FLAGS, ...KLOG_FLAGS });

/** The values of the agent's and klog's flags. */
export type AgentFlags = v.InferOutput<typeof commonFlags> & {
  /** Whether the path of the config was given explicitly, so that it must exist. */
  readonly configGiven: boolean;
  /** Whether a flag that affects the policy was given explicitly. */
  readonly policyGiven: boolean;
};

/** Makes a command out of its description and a table of flag schemas. */
export function command<const Entries extends FlagTable & v.ObjectEntries>(description: {
  name: string;
  summary: string;
  description: string;
  flags: Entries;
  readsPolicy: boolean | "agent";
  examples: readonly string[];
  placeholder?: string;
  run(
    own: v.InferOutput<v.ObjectSchema<Entries, undefined>>,
    agent: AgentFlags,
    args: readonly string[],
  ): Promise<Outcome>;
}): Command {
  const own = v.object(description.flags);
  return {
    ...description,
    async start(given, args) {
      return description.run(
        parsed(own, given),
        {
          ...parsed(commonFlags, given),
          configGiven: given.has("config"),
          policyGiven: POLICY_FLAGS.some(name => given.has(name)),
        },
        args,
      );
    },
  };
}

/** The values of the flags in `schema`; other given flags are ignored. Throws UsageError that names all wrong values. */
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
    const message = failure ? withRemedy(failure) : issue.message;
    return `${given.get(name)?.by ?? `--${name}`}: ${message}`;
  });
  throw new UsageError(lines.join("\n"));
}
