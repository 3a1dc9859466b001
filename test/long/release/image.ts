import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DIST } from "../../../lab/agent.ts";
import { output } from "../../../lab/output.ts";
import { version } from "../../../package.json";
import { CACHE, cached } from "../../../scripts/cache.ts";
import { run } from "../../../src/system/program.ts";
import type { Missing } from "../../debian/tools.ts";
import { debootstrap, finished } from "./debootstrap.ts";

/** The image's name in the manifests. */
export const IMAGE = `localhost/ipmasq:${version}`;

/** Architectures by Debian's and OCI's names. */
export const ARCHITECTURES = ["amd64", "arm64"] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** The architecture of this machine. */
export const ARCHITECTURE: Architecture = process.arch === "arm64" ? "arm64" : "amd64";

/** The Debian release of the image: the default of `container/Dockerfile`. */
const SUITE = "trixie";

/** Replaces both base images of `container/Dockerfile`: Debian with npm. */
export const BASE = `localhost/base:${SUITE}`;

/** Labels of a release, which the workflow fills in. */
export const SOURCE = "https://example.com/ipmasq";
export const BASE_DIGEST = `sha256:${"0".repeat(64)}`;

/** buildah with its own storage. */
export const BUILDAH = [
  "buildah",
  `--root=${join(CACHE, "containers/storage")}`,
  `--runroot=${join(CACHE, "containers/run")}`,
];

/** The file of CA certificates in the base. */
const AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt";

/** The path of the image that `buildImages` built, an OCI archive. */
export function builtImage(architecture: Architecture): string | Missing {
  const archive = archiveOf(architecture);
  return existsSync(archive)
    ? archive
    : { missing: `the image for ${architecture}: root makes it, by \`npm run test:release\`` };
}

function archiveOf(architecture: Architecture): string {
  return join(CACHE, `containers/ipmasq-${architecture}.tar`);
}

/**
 * Builds the image for architectures from the unchanged `container/Dockerfile` and the commit of dist/, with Debian's
 * buildah (80 s). Needs root, network access, and the programs of `scripts/containers`.
 */
export async function buildImages(architectures: readonly Architecture[] = ARCHITECTURES): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "ipmasq-image-"));
  try {
    const npmrc = join(scratch, "npmrc");
    const registry = (await output(["npm", "config", "get", "registry"])).trim();
    await Bun.write(npmrc, `registry=${registry}\ncafile=${AUTHORITIES}\n`);
    await importBase();
    for (const architecture of architectures) await buildImage(architecture, npmrc);
    // Removes the layers that the builds share, which would add 0.8 GB for every change of a source.
    await finished([...BUILDAH, "rmi", "--prune"]);
  } finally {
    await rm(scratch, { recursive: true });
  }
}

async function buildImage(architecture: Architecture, npmrc: string): Promise<void> {
  const archive = archiveOf(architecture);
  await rm(archive, { force: true });
  // Debian 12's buildah does not set BUILDPLATFORM. Its default isolation needs permission to mount /proc.
  await finished([
    ...[
      ...BUILDAH,
      "build",
      "--layers",
      "--force-rm",
      "--pull=never",
      "--isolation=chroot",
      "--network=host",
    ],
    ...[`--platform=linux/${architecture}`, `--build-arg=BUILDPLATFORM=linux/${ARCHITECTURE}`],
    ...[`--build-arg=NODE_IMAGE=${BASE}`, `--build-arg=DEBIAN_IMAGE=${BASE}`],
    ...[`--build-arg=REVISION=${await commitOfDist()}`, `--secret=id=npmrc,src=${npmrc}`],
    ...[`--build-arg=SOURCE=${SOURCE}`, `--build-arg=BASE_DIGEST=${BASE_DIGEST}`],
    ...["--file=container/Dockerfile", `--tag=${IMAGE}`, join(import.meta.dirname, "../../..")],
  ]);
  await finished([...BUILDAH, "push", "--quiet", IMAGE, `oci-archive:${archive}:${IMAGE}`]);
}

/** The commit in the release's binaries. */
async function commitOfDist(): Promise<string> {
  const name = `ipmasq-linux-${process.arch}`;
  return /commit ([^,]+),/.exec(await output([join(DIST, name), "version"]))?.[1] ?? "unknown";
}

/** Imports the base as an image, once. */
async function importBase(): Promise<void> {
  const { exitCode } = await run([...BUILDAH, "inspect", "--type=image", BASE]);
  if (exitCode === 0) return;
  const container = (await output([...BUILDAH, "from", "scratch"])).trim();
  await output([...BUILDAH, "add", "--quiet", container, await base(), "/"]);
  await output([...BUILDAH, "commit", "--quiet", "--rm", container, BASE]);
}

/** A Debian root with npm, with the CA certificates that npm trusts on this machine (40 s, 420 MB). */
async function base(): Promise<string> {
  const directory = await cached(`containers/base-${SUITE}`, async directory => {
    const own = process.env.NODE_EXTRA_CA_CERTS;
    const hooks = own && existsSync(own) ? [`--customize-hook=cat "${own}" >> "$1${AUTHORITIES}"`] : [];
    await debootstrap(SUITE, directory, join(directory, "base.tar"), [
      "--include=npm,ca-certificates",
      ...hooks,
    ]);
  });
  return join(directory, "base.tar");
}
