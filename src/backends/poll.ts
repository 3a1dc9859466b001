import type { Plan, Watch } from "./backend.ts";

/** How to look at our rules where kernel events are not available. */
export interface Look {
  /** A text that changes with the rules of ours that are in the kernel; cheap, so it may leave out elements of sets. */
  glance(): Promise<string>;
  /** The last plan, made anew; undefined if there was none. */
  plan(): Promise<Pick<Plan, "inSync">> | undefined;
}

/** Milliseconds between looks. A look at the rules of one family takes 3 to 10 ms of processor time. */
export const POLL_MS = 1000;

/** A slow look, as at a large table of iptables-legacy, delays the next one, but by no more than this factor. */
const MOST_PATIENCE = 3;

/**
 * Finds changes by looking. Calls `changed` at each look that finds drift, and when looks start to fail, so that a sync
 * reports the reason.
 */
export function poll({ glance, plan }: Look, changed: () => void, every = POLL_MS): Watch {
  /** The text when the kernel last actual the desired rules. */
  let right: string | undefined;
  /** True at first: the sync that began at the same time reports its own failure. */
  let failing = true;
  let stopped = false;
  let timer: Timer | undefined;
  const isRight = async () => {
    const text = await glance();
    if (text !== right && (await plan())?.inSync === false) return false;
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
