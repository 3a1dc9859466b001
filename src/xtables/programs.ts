import { readFile } from "node:fs/promises";

/** Where programs are found, and the kernel's own files: on this node, unless a test looks at another one. */
export interface Programs {
  has(name: string): boolean;
  /** The command line that starts a program. */
  argv(name: string): readonly string[];
  /** A file's content; empty if there is none. */
  read(path: string): Promise<string>;
}

export const PROGRAMS: Programs = {
  has: name => Bun.which(name) !== null,
  argv: name => [name],
  read: path => readFile(path, "utf8").catch(() => ""),
};
