import { afterAll, afterEach, beforeAll, beforeEach } from "bun:test";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Lab } from "../lab/lab.ts";

/** Returns a lab that is rebuilt for each test of the file. */
export function labPerTest(): Lab {
  const lab = new Lab();
  beforeEach(() => lab.open());
  afterEach(() => lab.close());
  return lab;
}

/** Returns a lab that all tests of the file, or of the `describe` around, share. */
export function labPerFile(): Lab {
  const lab = new Lab();
  beforeAll(() => lab.open());
  afterAll(() => lab.close());
  return lab;
}

/** Makes a folder with only these files, by name. */
export async function freshFolder(path: string, files: Readonly<Record<string, string>> = {}): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
}
