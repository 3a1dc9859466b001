import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as v from "valibot";
import { messageOf } from "../../../src/system/errors.ts";
import { keepResults } from "../compatibility.ts";
import { CHECKS } from "./guest/checks.ts";
import { KERNEL_SUITES, kernelOf } from "./kernels.ts";
import { Machine } from "./machine.ts";

/** Timeout of all guests together, in seconds: several times their duration on an idle machine. */
const LIMIT = 1800;

/** A result line of guest/main.ts. */
const Found = v.object({
  name: v.string(),
  ok: v.boolean(),
  cell: v.string(),
  raw: v.unknown(),
  seconds: v.number(),
});
const Versions = v.object({ kernel: v.string(), nft: v.string(), iptables: v.string() });

interface Column {
  readonly versions: v.InferOutput<typeof Versions>;
  readonly found: v.InferOutput<typeof Found>[];
}

/** The results by kernel. */
const columns: Column[] = [];

const machines = new Map<string, Machine>();

const began = performance.now();

/** The machines run at the same time, because none keeps two cores busy all the time. */
beforeAll(async () => {
  for (const suite of KERNEL_SUITES) machines.set(suite, await Machine.start(await kernelOf(suite), LIMIT));
}, 60_000);
afterAll(() => Promise.all([...machines.values()].map(machine => machine.end())));

/** Waits for a line that contains a text. Throws with the console's output if the machine ends first. */
async function line(suite: string, mark: string): Promise<unknown> {
  const machine = machines.get(suite);
  if (machine === undefined) throw new Error("it did not start");
  try {
    return JSON.parse((await machine.results.until(mark)).at(-1) ?? "");
  } catch (error) {
    throw new Error(`${messageOf(error)}\n${await machine.said()}`);
  }
}

describe.each(KERNEL_SUITES)("the kernel of %s", suite => {
  const found: v.InferOutput<typeof Found>[] = [];
  beforeAll(async () => {
    columns.push({ versions: v.parse(Versions, await line(suite, '"kernel":')), found });
  }, 120_000);

  test.each(CHECKS.map(({ name }) => name))(
    "%s",
    async name => {
      const finding = v.parse(Found, await line(suite, `"name":"${name}"`));
      found.push(finding);
      expect(finding).toMatchObject({ ok: true });
    },
    LIMIT * 1000,
  );
});

afterAll(async () => {
  if (columns.length < KERNEL_SUITES.length || columns.some(({ found }) => found.length < CHECKS.length))
    return;
  const [first] = columns;
  await keepResults("kernels", [
    {
      title: "Debian's kernels",
      how: `Each kernel boots under qemu without hardware acceleration, with two cores, nft ${first?.versions.nft}, iptables ${first?.versions.iptables} and the built binary, while new UDP flows pass. Each cell has the number of flows with a wrong address, and the number of all flows that arrived. The controls write rules in other ways: where a control has wrong flows, the test would detect the same error of ipmasq. Where the controls have no wrong flows either, the result of ipmasq proves little. \`packets by policy\` runs a part of \`test/kernel/packets.test.ts\` with the source modules. The run took ${Math.round((performance.now() - began) / 1000)} s.`,
      columns: ["", ...columns.map(({ versions }) => versions.kernel)],
      rows: CHECKS.map(({ name }, i) => [name, ...columns.map(({ found }) => found[i]?.cell ?? "")]),
      raw: columns,
    },
  ]);
});
