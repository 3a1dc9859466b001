import type { Watch } from "./backend.ts";

/** How our rules are looked at, where the kernel's events cannot be had. */
export interface Look {
  /** A text that changes with the rules of ours that are in the kernel; cheap, so it may leave out elements of sets. */
  glance(): Promise<string>;
  /** Whether the kernel holds what it is to hold. */
  isInSync(): Promise<boolean>;
}

/** Milliseconds between looks. A look at the rules of one family takes 3 to 10 ms of processor time. */
export const POLL_MS = 1000;

/** A look that takes long, as that at a large table of iptables-legacy does, makes the next one wait at most so many times as long. */
const MOST_PATIENCE = 3;

/**
 * Finds changes by looking. Calls `changed` at each look that finds our rules other than they are to be, and when looks
 * begin to fail: the sync that follows tells why.
 */
export function poll({ glance, isInSync }: Look, changed: () => void, every = POLL_MS): Watch {
  /** The text when our rules were last found right. */
  let right: string | undefined;
  /** The first look may fail as the sync did that began with it. */
  let failing = true;
  let stopped = false;
  let timer: Timer | undefined;
  const isRight = async () => {
    const text = await glance();
    if (text !== right && !(await isInSync())) return false;
    right = text;
    return true;
  };
  const look = async () => {
    const began = performance.now();
    let doubtful: boolean;
    try {
      doubtful = !(await isRight());
      failing = false;
    } catch {
      doubtful = !failing;
      failing = true;
    }
    if (stopped) return;
    if (doubtful) changed();
    const took = performance.now() - began;
    timer = setTimeout(look, Math.min(Math.max(every, 10 * took), MOST_PATIENCE * every));
  };
  void look();
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
