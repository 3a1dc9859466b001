import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Chroot } from "../debian/chroot.ts";

/** The window of the browser. Bun starts one browser for all views of a process; it ends with the process. */
export interface Screen {
  readonly width: number;
  readonly height: number;
  readonly scheme: "light" | "dark";
}

/**
 * Opens a page in headless Chromium.
 *
 * @throws Error if it cannot be loaded
 */
export async function openPage(
  chromium: Chroot,
  url: string,
  { width, height, scheme }: Screen,
): Promise<Bun.WebView> {
  const folder = await mkdtemp(join(tmpdir(), "ipmasq-chromium-"));
  const path = join(folder, "chromium");
  const command = chromium
    .command(["/usr/lib/chromium/chromium"])
    .map(word => `'${word.replaceAll("'", "'\\''")}'`);
  await writeFile(path, `#!/bin/sh\nexec ${command.join(" ")} "$@"\n`, { mode: 0o755 });
  const argv = ["--no-sandbox", "--user-data-dir=/tmp/profile", "--disable-dev-shm-usage"];
  const view = new Bun.WebView({ width, height, backend: { type: "chrome", path, argv, stderr: "ignore" } });
  try {
    await view.navigate("about:blank");
    await view.cdp("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }],
    });
    await view.navigate(url);
    return view;
  } finally {
    await rm(folder, { recursive: true });
  }
}
