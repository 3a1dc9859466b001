import { check } from "./check.ts";
import { cleanup } from "./cleanup.ts";
import type { Command } from "./command.ts";
import { completionOf } from "./completion.ts";
import { connections } from "./connections.ts";
import { diff } from "./diff.ts";
import { explain } from "./explain.ts";
import { render } from "./render.ts";
import { run } from "./run.ts";
import { schema } from "./schema.ts";
import { status } from "./status.ts";
import { test } from "./test.ts";
import { verify } from "./verify.ts";
import { version } from "./version.ts";

/** The commands, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  run,
  status,
  connections,
  explain,
  diff,
  verify,
  check,
  test,
  render,
  cleanup,
  schema,
  completionOf(() => COMMANDS),
  version,
];
