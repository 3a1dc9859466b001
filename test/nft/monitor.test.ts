import { expect, test } from "bun:test";
import { monitor } from "../../src/nft/monitor.ts";

/** The events of a monitor that prints these lines and ends. */
async function eventsOf(...lines: readonly string[]): Promise<string[]> {
  const events: string[] = [];
  const ended = Promise.withResolvers<void>();
  const running = monitor(["sh", "-c", `printf '%s\\n' ${lines.map(it => `'${it}'`).join(" ")}`], {
    change: line => events.push(line),
    committed: by => events.push(`committed by ${by}`),
    listening: () => events.push("listening"),
    overflowed: () => events.push("overflowed"),
    interrupted: () => events.push("interrupted"),
    failed: () => ended.resolve(),
  });
  await ended.promise;
  running.stop();
  return events;
}

const generation = (n: number) => `# new generation ${n} by process 7 (nft)`;

test("a transaction is its changes and the program that made them", async () => {
  expect(await eventsOf("add table ip t", "add chain ip t c", generation(3))).toEqual([
    "add table ip t",
    "add chain ip t c",
    "committed by nft (pid 7)",
  ]);
});

test("the start of a long line identifies its object", async () => {
  const [line] = await eventsOf(`add set ip t s { elements = { ${"10.0.0.0, ".repeat(50)} } }`);
  expect(line).toStartWith("add set ip t s { elements");
});

const OK = "committed by nft (pid 7)";
test.each<[what: string, numbers: readonly number[], events: readonly string[]]>([
  ["follow each other", [41, 42, 43], [OK, OK, OK]],
  ["skip zero", [2 ** 32 - 1, 1], [OK, OK]],
  ["skip zero, as signed numbers", [2 ** 31 - 1, -(2 ** 31), -1, 1], [OK, OK, "overflowed", OK]],
  ["have a gap", [41, 43, 44], [OK, "overflowed", OK]],
  ["repeat", [41, 41, 42], [OK, "overflowed", OK]],
])("generations that %s", async (_what, numbers, events) => {
  expect(await eventsOf(...numbers.map(generation))).toEqual([...events]);
});

test("events that the kernel dropped are reported", async () => {
  const lines = [generation(41), "# ERROR: We lost some netlink events!", generation(42)];
  expect(await eventsOf(...lines)).toEqual([OK, "overflowed", OK]);
});
