/** Builds or downloads what the cluster and its Pods are made of. Runs outside `lab/isolate`, with network access. */
import { join } from "node:path";
import { $ } from "bun";
import { ARCHITECTURE, buildImages } from "../release/image.ts";
import { buildPause, buildUpstream } from "./images.ts";
import { kubernetes, nodeRoot } from "./kubernetes.ts";

// With IPMASQ_IMAGE, the cluster and the image exist.
if (process.env.IPMASQ_IMAGE === undefined) {
  const { root } = await nodeRoot(await kubernetes());
  await $`sh scripts/containers`;
  await $`bun run build --binaries`;
  await buildImages([ARCHITECTURE]);
  await buildPause(join(root, "usr/bin/catatonit"));
  const agent = process.env.IP_MASQ_AGENT;
  if (agent !== undefined) await buildUpstream(agent);
}
