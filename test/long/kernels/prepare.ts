/** Fetches what the suite boots, outside of `lab/isolate`, where there is a network. */
import { KERNEL_SUITES, kernelOf } from "./kernels.ts";
import { emulator } from "./machine.ts";
import { userland } from "./userland.ts";

try {
  await userland();
  await Promise.all([emulator(), ...KERNEL_SUITES.map(kernelOf)]);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
