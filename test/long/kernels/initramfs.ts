import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BINARY } from "../../../lab/agent.ts";
import packageJson from "../../../package.json";
import { cpio, type Entry } from "./cpio.ts";
import type { Kernel } from "./kernels.ts";
import { userland } from "./userland.ts";

const PROJECT = join(import.meta.dirname, "../../..");

/** The project's directory in the guest. */
const HOME = "ipmasq";

/** The kernel modules that the network lab can need. */
const MODULES = /^(modules\.|kernel\/(net|lib|crypto|arch)\/|kernel\/drivers\/net\/veth\.)/;

/** The parts of the userland that the lab does not need, two thirds of it. */
const UNUSED = /^usr\/(share|lib\/x86_64-linux-gnu\/(perl|gconv))/;

/** A guest's root file system: userland, kernel modules, the project, and Bun. */
export async function initramfs(kernel: Kernel): Promise<Uint8Array[]> {
  const places = [
    tree(await userland(), "", path => !UNUSED.test(path)),
    tree(kernel.modules, `lib/modules/${kernel.release}`, path => MODULES.test(path)),
    ...["src", "lab", "test"].map(it => tree(join(PROJECT, it), `${HOME}/${it}`)),
    ...(await dependencies()).map(it => tree(join(PROJECT, it), `${HOME}/${it}`)),
  ];
  const files: Entry[] = await Promise.all([
    file(join(PROJECT, "package.json"), `${HOME}/package.json`),
    file(join(PROJECT, "bunfig.toml"), `${HOME}/bunfig.toml`),
    file(process.execPath, `${HOME}/bun`),
    file(BINARY, `${HOME}/dist/ipmasq`),
    file(join(import.meta.dirname, "guest/init"), "init"),
  ]);
  const entries = [...(await Promise.all(places)).flat(), ...files];
  const empty = ["dev", "proc", "run", "sys", "tmp", "root"].map(path => ({
    path,
    kind: "directory" as const,
  }));
  return [...cpio(withParents([...empty, ...entries]))];
}

/** Inserts the parent directories before each path, once each. */
function* withParents(entries: Iterable<Entry>): Generator<Entry> {
  const seen = new Set<string>(["."]);
  function* parents(path: string): Generator<Entry> {
    if (seen.has(path)) return;
    seen.add(path);
    yield* parents(dirname(path));
    yield { path, kind: "directory" };
  }
  for (const entry of entries) {
    yield* parents(entry.kind === "directory" ? entry.path : dirname(entry.path));
    if (entry.kind !== "directory") yield entry;
  }
}

/** The runtime dependencies of the project, with their dependencies. */
async function dependencies(): Promise<string[]> {
  const found = new Set<string>();
  const add = async (name: string): Promise<void> => {
    const path = `node_modules/${name}`;
    if (found.has(path)) return;
    found.add(path);
    const { dependencies = {} } = await Bun.file(join(PROJECT, path, "package.json")).json();
    await Promise.all(Object.keys(dependencies).map(add));
  };
  await Promise.all(Object.keys(packageJson.dependencies).map(add));
  return [...found];
}

/** The wanted files of a directory, as entries below `to`. */
async function tree(
  from: string,
  to: string,
  wanted: (path: string) => boolean = () => true,
): Promise<Entry[]> {
  const paths = (await readdir(from, { recursive: true })).filter(wanted);
  return await Promise.all(paths.map(path => file(join(from, path), join(to, path))));
}

async function file(from: string, path: string): Promise<Entry> {
  const stats = await lstat(from);
  if (stats.isSymbolicLink()) return { path, kind: "link", target: await readlink(from) };
  if (stats.isDirectory()) return { path, kind: "directory" };
  return { path, kind: "file", mode: stats.mode & 0o7777, bytes: await readFile(from) };
}
