/** `npm run docs`: writes the generated parts of the docs, from the code and from stored results. */
import { join } from "node:path";
import { writeReport } from "../bench/report.ts";
import { jsonSchemas } from "../src/inspect/json-schema.ts";
import { writeCompatibility } from "../test/long/compatibility.ts";
import { withKeyTable } from "./config-keys.ts";
import { metricsPage } from "./metrics.ts";
import { withOwnerTable } from "./owners.ts";

for (const [name, schema] of Object.entries(jsonSchemas())) {
  const path = join(import.meta.dir, `../docs/${name}.schema.json`);
  await Bun.write(path, `${JSON.stringify(schema, null, 2)}\n`);
}
await Bun.write(join(import.meta.dir, "../docs/metrics.md"), metricsPage());
const readme = Bun.file(join(import.meta.dir, "../README.md"));
await Bun.write(readme, withKeyTable(await readme.text()));
const troubleshooting = Bun.file(join(import.meta.dir, "../docs/troubleshooting.md"));
await Bun.write(troubleshooting, withOwnerTable(await troubleshooting.text()));
await writeCompatibility();
await writeReport();
