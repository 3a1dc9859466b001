import type { Case } from "./case.ts";
import { chain } from "./cases/chain.ts";
import { change } from "./cases/change.ts";
import { enforce } from "./cases/enforce.ts";
import { gap } from "./cases/gap.ts";
import { idle } from "./cases/idle.ts";
import { memory } from "./cases/memory.ts";
import { reaction } from "./cases/reaction.ts";
import { resync } from "./cases/resync.ts";
import { size } from "./cases/size.ts";
import { start } from "./cases/start.ts";
import { sync } from "./cases/sync.ts";
import { throughput } from "./cases/throughput.ts";
import { verify } from "./cases/verify.ts";

/** In the order in which they are measured. */
export const CASES: Readonly<Record<string, Case>> = {
  throughput,
  enforce,
  sync,
  change,
  chain,
  start,
  reaction,
  gap,
  resync,
  idle,
  memory,
  verify,
  size,
};
