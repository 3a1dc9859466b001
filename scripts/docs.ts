/** `npm run docs`: writes the generated parts of the docs, from the code and from stored results. */
import { join } from "node:path";
import { writeReport } from "../bench/report.ts";
import { jsonSchemas } from "../src/inspect/json-schema.ts";
import { writeCompatibility } from "../test/long/compatibility.ts";
import { manPage } from "./man.ts";
import { metricsPage } from "./metrics.ts";
import { PAGES_WITH_TABLES, withTable } from "./tables.ts";

for (const [name, schema] of Object.entries(jsonSchemas())) {
  const path = join(import.meta.dir, `../docs/${name}.schema.json`);
  await Bun.write(path, `${JSON.stringify(schema, null, 2)}\n`);
}
await Bun.write(join(import.meta.dir, "../docs/metrics.md"), metricsPage());
await Bun.write(join(import.meta.dir, "../docs/ipmasq.8"), manPage());
for (const page of PAGES_WITH_TABLES) {
  const file = Bun.file(join(import.meta.dir, "..", page));
  await Bun.write(file, withTable(page, await file.text()));
}
await writeCompatibility();
await writeReport();
