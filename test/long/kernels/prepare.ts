/** Downloads the kernels and the emulator. Runs outside `lab/isolate`, with network access. */

import { messageOf } from "../../../src/system/errors.ts";
import { KERNEL_SUITES, kernelOf } from "./kernels.ts";
import { emulator } from "./machine.ts";
import { userland } from "./userland.ts";

try {
  await userland();
  await Promise.all([emulator(), ...KERNEL_SUITES.map(kernelOf)]);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
