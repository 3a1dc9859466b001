import { expect, test } from "bun:test";
import { join } from "node:path";
import { metricsPage } from "../scripts/metrics.ts";
import { outputSchemas } from "../src/inspect/json-schema.ts";
import { compatibility } from "./long/compatibility.ts";

test.each(Object.entries(outputSchemas()))(
  "docs/%s.schema.json is what the code says: npm run docs",
  async (name, schema) => {
    const kept = await Bun.file(join(import.meta.dir, `../docs/${name}.schema.json`)).json();
    expect(kept).toEqual(schema);
  },
);

test("docs/metrics.md matches the metrics in the code: npm run docs", async () => {
  expect(await Bun.file(join(import.meta.dir, "../docs/metrics.md")).text()).toBe(metricsPage());
});

test("docs/compatibility.md is what the long suites found: npm run docs", async () => {
  const kept = await Bun.file(join(import.meta.dir, "../docs/compatibility.md")).text();
  expect(kept).toBe(await compatibility());
});
