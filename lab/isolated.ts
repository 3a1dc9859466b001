import { existsSync } from "node:fs";

/** Whether this process was started by `lab/isolate`, which makes the file. */
export function isIsolated(): boolean {
  return existsSync("/run/ipmasq-lab");
}
