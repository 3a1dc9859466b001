import { join } from "node:path";
import { $ } from "bun";
import { output } from "../../lab/output.ts";
import { messageOf } from "../../src/system/errors.ts";
import { cached } from "../debian/cache.ts";
import type { Missing } from "../debian/tools.ts";

/** What Prometheus Operator's definitions of its kinds say, as functions of kubernetes-models. */
export interface PrometheusOperator {
  /** What is wrong with a document of one of its kinds, in a line; nothing if it is right. Unknown fields pass. */
  judge(document: object): Promise<string>;
}

const MODELS = "@kubernetes-models/prometheus-operator";
const VERSION = "6.0.0";

/**
 * Returns them. npm brings them once (29 MB, 4 s) into `.cache`: as a package of ours they would be 28 packages, for
 * three small files.
 */
export async function prometheusOperator(): Promise<PrometheusOperator | Missing> {
  try {
    const top = await cached(`prometheus-operator-${VERSION}`, async directory => {
      await Bun.write(join(directory, "package.json"), JSON.stringify({ private: true }));
      const flags = ["--save-exact", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
      await $`npm install ${flags} ${MODELS}@${VERSION}`.cwd(directory).quiet();
    });
    const argv = ["env", `--chdir=${top}`, process.execPath, "--eval", JUDGE];
    return { judge: async document => (await output(argv, JSON.stringify(document))).trim() };
  } catch (error) {
    return {
      missing: `Prometheus Operator's definitions: ${messageOf(error)}`,
    };
  }
}

const JUDGE = `
const document = await Bun.stdin.json();
const kinds = await import("${MODELS}/" + document.apiVersion);
try {
  new kinds[document.kind](document).validate();
} catch (error) {
  console.log(error.message);
}
`;
