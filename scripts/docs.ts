/** `npm run docs`: writes what in docs/ is made from the code and from kept results. */
import { join } from "node:path";
import { jsonSchemas } from "../src/inspect/json-schema.ts";
import { writeCompatibility } from "../test/long/compatibility.ts";
import { metricsPage } from "./metrics.ts";

for (const [name, schema] of Object.entries(jsonSchemas())) {
  const path = join(import.meta.dir, `../docs/${name}.schema.json`);
  await Bun.write(path, `${JSON.stringify(schema, null, 2)}\n`);
}
await Bun.write(join(import.meta.dir, "../docs/metrics.md"), metricsPage());
await writeCompatibility();
