/**
 * `bun container/sizes.ts ROOT`: prints the size of an image's file system by component. Fails if a file belongs to no
 * component.
 */
import { existsSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { basename, join } from "node:path";
import { BUN_VERSION, fetchRuntimes } from "../scripts/runtimes.ts";
import { parseControl } from "./control.ts";

const BINARY = "usr/bin/ipmasq";
const RECORDS = "var/lib/dpkg/status.d";

const [root] = process.argv.slice(2);
if (root === undefined) throw new Error("bun container/sizes.ts ROOT");
const owners = await ownersOf(root);
const bun = await bunSize(root);
const sizes = new Map([[`Bun ${BUN_VERSION}`, bun]]);
for await (const path of new Bun.Glob("**/*").scan({ cwd: root, dot: true, followSymlinks: false })) {
  const { size } = await lstat(join(root, path));
  const owner = owners.get(path) ?? ownOwner(path);
  sizes.set(owner, (sizes.get(owner) ?? 0) + (path === BINARY ? size - bun : size));
}
const all = [...sizes].sort(([, a], [, b]) => b - a);
const rows = [...all, ["all", all.reduce((sum, [, size]) => sum + size, 0)] as const];
process.stdout.write("| what | kB |\n|---|---:|\n");
for (const [what, size] of rows) process.stdout.write(`| ${what} | ${kilobytes(size)} |\n`);

/** The package and version of each file, from the records that `container/root` wrote. */
async function ownersOf(root: string): Promise<Map<string, string>> {
  const owners = new Map<string, string>();
  for await (const record of new Bun.Glob("*.md5sums").scan({ cwd: join(root, RECORDS) })) {
    const name = basename(record, ".md5sums");
    const { Version } = parseControl(await Bun.file(join(root, RECORDS, name)).text());
    const text = await Bun.file(join(root, RECORDS, record)).text();
    for (const [, path = ""] of text.matchAll(/^\w+ +(.+)$/gm)) owners.set(path, `${name} ${Version}`);
  }
  return owners;
}

function ownOwner(path: string): string {
  if (path === BINARY) return "ipmasq, its packages and their bytecode";
  if (path.startsWith("usr/share/doc/ipmasq/")) return "bill of materials, licences of the binary";
  if (path.startsWith(`${RECORDS}/`)) return "records of the packages, for scanners";
  if (/^usr\/(sbin\/ip6?tables|lib(64)?\/ld-)|^etc\/os-release$|^(bin|sbin|lib|lib64)$/.test(path))
    return "links";
  throw new Error(`${path} belongs to no known component`);
}

async function bunSize(root: string): Promise<number> {
  const platform = existsSync(join(root, "usr/lib/aarch64-linux-gnu")) ? "linux-arm64" : "linux-x64";
  const runtime = (await fetchRuntimes()).find(it => it.platform === platform);
  return runtime === undefined ? 0 : (await lstat(runtime.executable)).size;
}

function kilobytes(size: number): string {
  return Math.ceil(size / 1000).toLocaleString("en-US");
}
