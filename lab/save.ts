import { rename, writeFile } from "node:fs/promises";

/** Writes a file by rename, as editors and kubelet do, so that readers never see a part of it. */
export async function save(path: string, content: string | Uint8Array, mode?: number): Promise<void> {
  await writeFile(`${path}.new`, content, { mode });
  await rename(`${path}.new`, path);
}
