import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../package.json";
import { releaseNotes, sectionOf } from "../scripts/release-notes.ts";
import { actionlint } from "./actionlint.ts";
import { absent } from "./programs.ts";

const WORKFLOWS = join(import.meta.dir, "../.github/workflows");
const lint = await actionlint();

if (typeof lint === "object") absent(lint.missing);
else {
  test.each([...new Bun.Glob("*.yml").scanSync(WORKFLOWS)])(
    "actionlint finds nothing in the workflow %s",
    async name => {
      expect(await lint(join(WORKFLOWS, name))).toBe("");
    },
  );

  test("control: actionlint finds an output that does not exist", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ipmasq-"));
    const steps = [{ run: `echo $\{{ steps.b.outputs.c }}` }];
    const workflow = { on: "push", jobs: { a: { "runs-on": "ubuntu-latest", steps } } };
    await Bun.write(join(folder, "a.yml"), JSON.stringify(workflow));
    expect(await lint(join(folder, "a.yml"))).toContain('property "b" is not defined');
    await rm(folder, { recursive: true });
  });
}

test("the notes of a release are its section of the changelog", () => {
  const changelog = "# Changelog\n\n## 0.2.0 (2026-12-01)\n\n### Added\n\n- A\n\n## 0.1.0\n\n- B\n";
  expect(sectionOf("0.2.0", changelog)).toBe("### Added\n\n- A\n");
  expect(sectionOf("0.1.0", changelog)).toBe("- B\n");
  expect(() => sectionOf("0.3.0", changelog)).toThrow('CHANGELOG.md has no section "0.3.0"');
});

test("a tag of another version is refused, with the files that have this one", () => {
  expect(releaseNotes("v9.9.9")).rejects.toThrow(
    `package.json has ${version}, container/Dockerfile has ${version}, version in Chart.yaml has ${version}`,
  );
});
