/** `npm run manifests`: writes what in deploy/ is made from the rest of it. */
import { join } from "node:path";
import { kubernetesRelease } from "../lab/kubernetes.ts";
import { output } from "../lab/output.ts";

const folder = join(import.meta.dir, "../deploy/kubernetes");
const release = await kubernetesRelease("forky");
if ("missing" in release) throw new Error(release.missing);
const rendered = await output([...release.kubectl, "kustomize", join(folder, "base")]);
await Bun.write(
  join(folder, "ip-masq-agent.yaml"),
  `# Rendered from base by npm run manifests.\n${rendered}`,
);
