import { join } from "node:path";
import { BINARY } from "../../../lab/agent.ts";
import { output } from "../../../lab/output.ts";
import packageJson from "../../../package.json";
import type { Kernel } from "./kernels.ts";
import { command, userland } from "./userland.ts";

const PROJECT = join(import.meta.dirname, "../../..");

/** Writes a guest's root file system: userland, kernel modules, the project, and Bun. */
export async function writeInitramfs({ modules }: Kernel, file: string): Promise<void> {
  const parts = ["src", "lab", "scripts", "test", "package.json", "bunfig.toml", ...(await dependencies())];
  const paths = [await userland(), modules, process.execPath, BINARY, file];
  await output([
    "env",
    `--chdir=${PROJECT}`,
    "sh",
    "-ec",
    PACK,
    ...paths,
    parts.join(" "),
    ...(await command("cpio")),
  ]);
}

/** Two thirds of the userland and most modules are not needed. Word splitting of the parts is intended. */
const PACK = `
  modules=$1 bun=$2 binary=$3 file=$4 parts=$5
  shift 5
  root=$(mktemp -d -p /run)
  cp -a "$0/." "$root"
  rm -r "$root"/usr/share "$root"/usr/lib/*/gconv
  mkdir -p "$root"/lib/modules "$root"/ipmasq/dist
  for directory in dev proc run sys tmp root; do mkdir -p "$root/$directory"; done
  cp -a "$modules" "$root/lib/modules"
  find "$root"/lib/modules/*/kernel -type f ! -path '*/kernel/net/*' ! -path '*/kernel/lib/*' ! -path '*/kernel/crypto/*' \
    ! -path '*/kernel/arch/*' ! -path '*/drivers/net/veth.*' -delete
  cp -a --parents $parts "$root/ipmasq"
  cp "$bun" "$root/ipmasq/bun"
  cp "$binary" "$root/ipmasq/dist/ipmasq"
  cp test/long/kernels/guest/init "$root/init"
  cd "$root"
  find . | "$@" --create --format=newc --owner=0:0 --quiet >"$file"
  rm -r "$root"
`;

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
