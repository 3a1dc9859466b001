/** Runs the checks in a guest, and writes each result as a line of JSON to the second serial port. */
import { appendFile } from "node:fs/promises";
import { release } from "node:os";
import { versionOf } from "../../../../lab/output.ts";
import { CHECKS } from "./checks.ts";
import type { Finding } from "./finding.ts";

await tell({ kernel: release(), nft: await versionOf("nft"), iptables: await versionOf("iptables") });
for (const { name, run } of CHECKS) {
  const began = performance.now();
  const finding = await run().catch(failure);
  await tell({ name, ...finding, seconds: Math.round((performance.now() - began) / 1000) });
}

async function tell(found: object): Promise<void> {
  await appendFile("/dev/ttyS1", `${JSON.stringify(found)}\n`);
}

function failure(error: unknown): Finding {
  return { ok: false, cell: "failed", raw: error instanceof Error ? error.stack : `${error}` };
}
