import { everyBackend } from "../backends/choose.ts";
import type { Journal } from "../observe/journal.ts";
import type { Log } from "../observe/log.ts";

/**
 * Of an abstract Unix socket. Each network namespace has such names of its own, as it has rules, whatever containers
 * share it; and with its process a name is free again.
 */
const NAME = "\0ipmasq";

/**
 * Two agents on one node would each undo what the other one writes. So one works, and others stand by until it ends:
 * returns when this process is to work, or is stopped.
 *
 * The name can be taken by anybody on the node. Who has it but keeps no rules in the kernel, for a whole resync
 * interval, is not waited for.
 *
 * @param told is called when it is known that this one stands by
 */
export async function claimNode(
  { journal, log }: { journal: Journal; log: Log },
  told: () => void,
  stop: AbortSignal,
): Promise<void> {
  if (claim()) return;
  log.warn(MESSAGE, { remedy: "remove one of the two; ss -xlp | grep @ipmasq shows who is at work" });
  while (!stop.aborted) {
    const at = Date.now();
    journal.synced({ at, trigger: "start", result: "failed", seconds: 0, message: MESSAGE });
    told();
    for (const until = at + journal.interval; Date.now() < until && !stop.aborted; await Bun.sleep(LOOK_MS)) {
      if (!claim()) continue;
      log.info("the other ipmasq has ended");
      return;
    }
    const held = (await everyBackend()).map(backend => backend.held());
    if ((await Promise.all(held)).flat().length > 0) continue;
    log.warn("whoever is at work in this one's place keeps no rules, and is not waited for any longer");
    return;
  }
}

const MESSAGE = "another ipmasq is at work on this node, and this one stands by";
/** A look takes 4 µs. */
const LOOK_MS = 500;

/** Whether the name is ours from now on. Where such a socket cannot be had at all, nobody is kept from working. */
function claim(): boolean {
  try {
    Bun.listen({ unix: NAME, socket: { open: visitor => void visitor.end(), data() {} } });
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "EADDRINUSE");
  }
}
