/**
 * `bun test/debian/fetch.ts`: downloads the Debian programs that tests use, unless they exist. Needs network access, so it
 * must run outside `lab/isolate`.
 */

import { actionlint } from "../actionlint.ts";
import { helm } from "../deploy/helm.ts";
import { KUBERNETES_SUITES, kubernetesRelease } from "../deploy/kubernetes.ts";
import { prometheusOperator } from "../deploy/operator.ts";
import { SYSTEMD_SUITES, systemdRoot } from "../deploy/systemd.ts";
import { debianChroot, PROGRAM_NAMES } from "./chroot.ts";
import { debianTools, SUITES } from "./tools.ts";

const all = [
  ...SUITES.map(debianTools),
  ...PROGRAM_NAMES.map(debianChroot),
  ...KUBERNETES_SUITES.map(kubernetesRelease),
  ...SYSTEMD_SUITES.map(systemdRoot),
  prometheusOperator(),
  helm(),
  actionlint(),
];
for (const it of await Promise.all(all)) {
  if (typeof it === "object" && "missing" in it) process.stdout.write(`${it.missing}\n`);
}
