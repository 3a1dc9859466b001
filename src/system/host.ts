import { readFile } from "node:fs/promises";

/** A node's programs and the files of its kernel. Tests replace it to look at another node. */
export interface Host {
  has(program: string): boolean;
  /** The command line that starts a program. */
  argv(program: string): readonly string[];
  /** A file's content; empty if the file cannot be read. */
  read(path: string): Promise<string>;
}

/** The node that this process runs on. */
export const HOST: Host = {
  has: program => Bun.which(program) !== null,
  argv: program => [program],
  read: path => readFile(path, "utf8").catch(() => ""),
};
