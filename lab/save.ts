import { rename, writeFile } from "node:fs/promises";

/** Writes a file as editors and kubelet do: under another name first, so that at its own it is always whole. */
export async function save(path: string, content: string | Uint8Array, mode?: number): Promise<void> {
  await writeFile(`${path}.new`, content, { mode });
  await rename(`${path}.new`, path);
}
