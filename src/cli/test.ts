import { dirname, resolve } from "node:path";
import { formatProblems } from "../config/problem.ts";
import type { Explanation, Question } from "../inspect/explain.ts";
import type { TestFile } from "../inspect/test-file.ts";
import type { Policy } from "../policy/policy.ts";
import { printableJson, printableLines } from "../system/printable.ts";
import { UsageError } from "./args.ts";
import { type AgentFlags, command } from "./command.ts";
import { fromKernel } from "./explain.ts";
import { choice, toggle } from "./flag.ts";
import { configFlags, readPolicy } from "./policy.ts";

/** Exit codes: all as expected, some not, and files with errors. */
const PASSED = 0;
const FAILED = 1;
const TROUBLE = 2;

export const test = command({
  name: "test",
  summary: "check the config against expected verdicts",
  description:
    "Checks whether the config gives the verdicts that test files expect, without asking the kernel. A test file is YAML or JSON: connections with their expected verdict, and the path of the config. With --live, checks the rules in the kernel instead. Prints each connection whose verdict differs, with its place in the file. Exits with 0 if all verdicts are as expected, with 1 if some are not, and with 2 if a file has an error.",
  placeholder: "FILE...",
  flags: {
    live: toggle("check the rules in the kernel instead of the config", "false"),
    output: choice(["text", "json", "junit"], "output format; junit is XML for CI systems", "text"),
    ...configFlags,
  },
  readsPolicy: true,
  examples: [
    "ipmasq test ip-masq-agent.test.yaml",
    "ipmasq test --config=configmap.yaml --output=junit tests/*.yaml > report.xml",
    "ipmasq test --live ip-masq-agent.test.yaml",
  ],
  async run({ live, output, configmap }, flags, paths) {
    if (paths.length === 0) {
      throw new UsageError("missing test file", "write one, such as `ipmasq test ip-masq-agent.test.yaml`");
    }
    const { readTestFile } = await import("../inspect/test-file.ts");
    const read = await Promise.all(paths.map(path => readTestFile(path)));
    const errors = read.flatMap(it => ("path" in it ? [] : it));
    const files = read.flatMap(it => ("path" in it ? it : []));
    const { runs, stderr, notes, isComplete } = await withPolicies(files, flags, configmap, live);
    const lines = formatProblems(errors).map(line => `${line}\n`);
    if (errors.length > 0 || !isComplete) {
      return { stderr: lines.join("") + stderr, notes, exitCode: TROUBLE };
    }
    const { runTests, testRunJunit, testRunText } = await import("../inspect/test-run.ts");
    const result = runTests(runs);
    const text = {
      text: () => printableLines(testRunText(result).join("\n")),
      json: () => printableJson(JSON.stringify(result, null, 2)),
      junit: () => testRunJunit(result),
    }[output]();
    const passed = notes.length > 0 ? TROUBLE : PASSED; // rules that were not read may decide otherwise
    return { stdout: `${text}\n`, stderr, notes, exitCode: result.failed > 0 ? FAILED : passed };
  },
});

interface Run {
  readonly file: TestFile;
  readonly explain: (it: Question) => Explanation;
}

/** The test files with the policies of their configs. Reads each config once. */
async function withPolicies(
  files: readonly TestFile[],
  flags: AgentFlags,
  configmap: string,
  live: boolean,
): Promise<{ runs: Run[]; stderr: string; notes: string[]; isComplete: boolean }> {
  const inspect = await import("../inspect/explain.ts");
  const known = new Map<string, Run["explain"] | undefined>();
  const runs: Run[] = [];
  const notes: string[] = [];
  let stderr = "";
  for (const file of files) {
    const path = configOf(file, flags);
    if (!known.has(path)) {
      const { policy, stderr: lines } = await readPolicy(flags, configmap, path);
      stderr += lines;
      known.set(path, policy && (await explainer(policy)));
    }
    const explain = known.get(path);
    if (explain) runs.push({ file, explain });
  }
  return { runs, stderr, notes, isComplete: runs.length === files.length };

  async function explainer(policy: Policy): Promise<Run["explain"]> {
    if (!live) return it => inspect.explain(policy, it);
    const { answer, notes: unread } = await fromKernel(flags, policy);
    notes.push(...unread);
    return answer;
  }
}

/** Throws UsageError if neither the file nor a flag names a config: the defaults are not worth a test. */
function configOf({ path, config }: TestFile, flags: AgentFlags): string {
  if (flags.configGiven) return flags.config;
  if (config !== undefined) return resolve(dirname(path), config);
  throw new UsageError(`${path} does not name a config`, 'add the key "config", or use --config');
}
