/** An entry of an archive. */
export type Entry =
  | { readonly path: string; readonly kind: "directory" }
  | { readonly path: string; readonly kind: "link"; readonly target: string }
  | { readonly path: string; readonly kind: "file"; readonly mode: number; readonly bytes: Uint8Array };

const TYPE = { directory: 0o040755, link: 0o120777, file: 0o100000 };

/**
 * An archive that the kernel unpacks into its initial root file system: cpio's "newc", see
 * Documentation/driver-api/early-userspace/buffer-format.rst. Archives can be concatenated. A directory must come before
 * its entries.
 */
export function* cpio(entries: Iterable<Entry>): Generator<Uint8Array> {
  let inode = 0;
  for (const entry of entries) yield* member(entry, ++inode);
  yield* member({ path: "TRAILER!!!", kind: "file", mode: 0, bytes: new Uint8Array() }, 0);
}

function* member(entry: Entry, inode: number): Generator<Uint8Array> {
  const bytes = entry.kind === "file" ? entry.bytes : Buffer.from(entry.kind === "link" ? entry.target : "");
  const name = Buffer.from(`${entry.path}\0`);
  const mode = TYPE[entry.kind] | (entry.kind === "file" ? entry.mode : 0);
  // Inode, mode, user, group, links, time, size, four device numbers, length of the name, checksum.
  const fields = [inode, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map(field => field.toString(16).padStart(8, "0")).join("")}`);
  yield* [header, name, padding(header.length + name.length), bytes, padding(bytes.length)];
}

/** Zeros up to the next multiple of four. */
function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4);
}
