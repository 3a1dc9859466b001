import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../lab/lab.ts";
import { debianChroot } from "../../test/debian/chroot.ts";
import { openPage } from "../../test/observe/browser.ts";
import { forward, forwardInto } from "../demo/forward.ts";

/** Writes pictures of the status page on the lab's node, as docs/page-light.png and docs/page-dark.png. */
export async function drawPage(lab: Lab, docs: string): Promise<void> {
  const chromium = await debianChroot("chromium");
  if ("missing" in chromium) throw new Error(chromium.missing);
  const folder = await mkdtemp(join(tmpdir(), "ipmasq-page-"));
  const path = join(folder, "page");
  const forwarding = await forwardInto(lab.node, path);
  const server = await forward({ host: "127.0.0.1", port: 9469 }, { path });
  for (const scheme of ["light", "dark"] as const) {
    const view = await openPage(chromium, "http://127.0.0.1:9469/", { width: 1000, height: 550, scheme });
    await view.evaluate('document.documentElement.style.scrollbarWidth = "none"');
    await Bun.write(join(docs, `page-${scheme}.png`), await view.screenshot());
    view.close();
  }
  server.close();
  forwarding.kill();
  await rm(folder, { recursive: true });
}
