import type { Watch } from "../backend.ts";
import { TABLE } from "./table.ts";

/**
 * Calls `changed` for what `nft -j monitor` tells of our tables, of our own writes too: the monitor does not
 * know whose a change was. What it tells of strangers, at times megabytes, is looked through and dropped.
 */
export function watchTables(argv: readonly string[], changed: () => void): Watch {
  const monitor = Bun.spawn([...argv, "-j", "monitor"], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
  });
  void search(monitor.stdout, `"${TABLE}"`, changed);
  return { stop: () => monitor.kill() };
}

async function search(output: ReadableStream<Uint8Array>, wanted: string, found: () => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of output) {
    const text = rest + decoder.decode(chunk, { stream: true });
    if (text.includes(wanted)) found();
    rest = text.slice(text.lastIndexOf("\n") + 1).slice(-wanted.length);
  }
}
