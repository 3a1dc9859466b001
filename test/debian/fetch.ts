/**
 * Fetches the programs of Debian's that the tests use and that are not here yet: `bun test/debian/fetch.ts`, outside of
 * `lab/isolate`, where there is a network.
 */

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
];
for (const it of await Promise.all(all)) {
  if ("missing" in it) process.stdout.write(`${it.missing}\n`);
}
