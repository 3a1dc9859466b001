/** What the tests of a release need and have to get where there is a network: the binaries, and where to run them. */

import { output } from "../../../lab/output.ts";
import { arm64, nodeRoot, ROOT_SUITES } from "../../../lab/roots.ts";

await output(["bun", "scripts/build.ts", "--all"]);
for (const it of await Promise.all([...ROOT_SUITES.map(nodeRoot), arm64()])) {
  if ("missing" in it) process.stdout.write(`${it.missing}\n`);
}
