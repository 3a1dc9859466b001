import { expect, test } from "bun:test";
import { join, relative } from "node:path";
import { version } from "../../package.json";

const ROOT = join(import.meta.dir, "../..");

test("the image is labelled with the version in package.json", async () => {
  const dockerfile = await Bun.file(join(ROOT, "container/Dockerfile")).text();
  expect(/^ARG VERSION=(.*)$/m.exec(dockerfile)?.[1]).toBe(version);
});

test.each(["scripts/build.ts", "container/sbom.ts"])(
  "the image's context has all that %s imports",
  async entry => {
    const ignore = await Bun.file(join(ROOT, ".dockerignore")).text();
    const context = Array.from(ignore.matchAll(/^!(.*)$/gm), ([, path]) => path);
    const missing = [...(await modules(join(ROOT, entry)))].filter(it => !context.includes(it.split("/")[0]));
    expect(missing).toEqual([]);
  },
);

/** Builds packages, with programs of the tests. The image has none, so its build never loads this file. */
const PACKAGES = "scripts/packages.ts";

/** The project's files that a file imports, directly or through others. */
async function modules(file: string, found = new Set<string>()): Promise<Set<string>> {
  const path = relative(ROOT, file);
  if (found.has(path) || path === PACKAGES) return found;
  found.add(path);
  if (!file.endsWith(".ts")) return found;
  const imports = new Bun.Transpiler({ loader: "ts" }).scanImports(await Bun.file(file).text());
  for (const { path: imported } of imports) {
    if (imported.startsWith(".")) await modules(join(file, "..", imported), found);
  }
  return found;
}
