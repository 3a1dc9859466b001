import { rm } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../../lab/output.ts";
import { CACHE } from "../../../scripts/cache.ts";
import { ARCHITECTURE, BUILDAH, builtImage } from "../release/image.ts";

/** The image of ip-masq-agent. */
export const UPSTREAM_IMAGE = "localhost/ip-masq-agent:1";

/** The image whose container holds the namespaces of a Pod. */
export const PAUSE_IMAGE = "localhost/pause:1";

/** The path of an image's archive. */
export function archiveOf(image: string): string {
  return join(CACHE, "containers", `${image.replace(/^localhost\/(.*):.*$/, "$1")}.tar`);
}

/**
 * Builds {@link PAUSE_IMAGE} from a static program that reaps orphans.
 *
 * @param catatonit its path
 */
export async function buildPause(catatonit: string): Promise<void> {
  await build(PAUSE_IMAGE, "scratch", catatonit, ["/pause", "-P"]);
}

/**
 * Builds {@link UPSTREAM_IMAGE} with the programs of the image of ipmasq, which must be built.
 *
 * @param agent the path of ip-masq-agent's binary
 */
export async function buildUpstream(agent: string): Promise<void> {
  const base = builtImage(ARCHITECTURE);
  if (typeof base !== "string") throw new Error(base.missing);
  await build(UPSTREAM_IMAGE, `oci-archive:${base}`, agent, ["/ip-masq-agent"]);
}

async function build(
  image: string,
  base: string,
  program: string,
  entrypoint: readonly string[],
): Promise<void> {
  const container = (await output([...BUILDAH, "from", base])).trim();
  const [path = ""] = entrypoint;
  await output([...BUILDAH, "add", "--quiet", "--chmod=755", container, program, path]);
  await output([...BUILDAH, "config", `--entrypoint=${JSON.stringify(entrypoint)}`, container]);
  await output([...BUILDAH, "commit", "--quiet", "--rm", container, image]);
  // buildah adds to an archive that exists, which this format does not allow.
  await rm(archiveOf(image), { force: true });
  await output([...BUILDAH, "push", "--quiet", image, `docker-archive:${archiveOf(image)}:${image}`]);
}
