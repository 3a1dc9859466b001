import { output } from "../../lab/output.ts";
import { npmPackage } from "../../scripts/cache.ts";
import { messageOf } from "../../src/system/errors.ts";
import type { Missing } from "../debian/tools.ts";

/** Validates documents by Prometheus Operator's definitions, through the package kubernetes-models. */
export interface PrometheusOperator {
  /** Returns the mistakes in a document, in one line, or an empty text. Unknown fields pass. */
  judge(document: object): Promise<string>;
}

const MODELS = "@kubernetes-models/prometheus-operator";
const VERSION = "6.0.0";

/**
 * Returns the validator. npm downloads it once (29 MB, 4 s) into `.cache`: as a dependency, it would add 28 packages for
 * three small files.
 */
export async function prometheusOperator(): Promise<PrometheusOperator | Missing> {
  try {
    const top = await npmPackage(`${MODELS}@${VERSION}`);
    const argv = ["env", `--chdir=${top}`, process.execPath, "--eval", JUDGE];
    return { judge: async document => (await output(argv, JSON.stringify(document))).trim() };
  } catch (error) {
    return { missing: `Prometheus Operator's definitions: ${messageOf(error)}` };
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
