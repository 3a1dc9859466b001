/** `npm run docs`: writes what in docs/ is made from the code. */
import { join } from "node:path";
import { outputSchemas } from "../src/inspect/json-schema.ts";

for (const [name, schema] of Object.entries(outputSchemas())) {
  const path = join(import.meta.dir, `../docs/${name}.schema.json`);
  await Bun.write(path, `${JSON.stringify(schema, null, 2)}\n`);
}
