import { expect, test } from "bun:test";
import { join } from "node:path";
import { Lines } from "../../lab/lines.ts";
import { version } from "../../package.json";

const START = join(import.meta.dir, "../../scripts/demo/start.ts");

test("the tour shows conflict and remedy, stays with a status page, and ends without leftovers", async () => {
  const demo = Bun.spawn([process.execPath, START, "--tour", "--keep"], { stdin: "ignore", stdout: "pipe" });
  const lines = new Lines(demo.stdout);
  const shown = (await lines.until("The status page: ")).join("\n");
  expect(shown).toStartWith(`ipmasq ${version} (commit `);
  const [before, after] = shown.split("=== enforceNonMasquerade");
  expect(before).toMatch(/tcp +10\.100\.7\.8:5432 +sees 10\.0\.0\.2, the node's address/);
  expect(before).toContain("flannel masquerades traffic that leaves the Pod network");
  expect(before).toContain("Deleted 1 conntrack entry (1 UDP).");
  expect(after).toMatch(/tcp +10\.100\.7\.8:5432 +sees 10\.244\.1\.2, the Pod's address/);
  expect(after).toMatch(/proven for all 4,294,967,296 IPv4 destinations \(\d+ pieces\): 0 differ/);

  const [, url = ""] = /The status page: (\S+)/.exec(shown) ?? [];
  await lines.until("Everything stays until Ctrl-C.");
  expect(await (await fetch(url)).text()).toContain("203.0.113.0/24");

  demo.kill("SIGTERM");
  const rest = await lines.all();
  expect(rest).toContain("What next:");
  expect(await demo.exited).toBe(0);
}, 60_000);

test("an unknown option is refused", async () => {
  const demo = Bun.spawn([process.execPath, START, "--kep"], { stdin: "ignore", stderr: "pipe" });
  expect(await demo.stderr.text()).toBe('unknown argument "--kep"; write --keep or --tour\n');
  expect(await demo.exited).toBe(64);
});
