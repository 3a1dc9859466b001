/** Fetches what the suite boots, outside of `lab/isolate`, where there is a network. */

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
