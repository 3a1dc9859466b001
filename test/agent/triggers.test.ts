import { expect, test } from "bun:test";
import { Triggers } from "../../src/agent/triggers.ts";

const LONG = 60_000;

test("triggers that came meanwhile are one, with the last who is known", async () => {
  const triggers = new Triggers();
  triggers.push("kernel", "nft (pid 7)");
  triggers.push("config");
  triggers.push("kernel");
  triggers.push("kernel", "firewalld (pid 8)");
  expect(await triggers.next(LONG, 0)).toEqual({ triggers: ["kernel", "config"], by: "firewalld (pid 8)" });
  triggers.push("signal");
  expect(await triggers.next(LONG, 0)).toEqual({ triggers: ["signal"], by: undefined });
});

test("one that comes later ends the wait", async () => {
  const triggers = new Triggers();
  const next = triggers.next(LONG, LONG);
  triggers.push("config");
  expect(await next).toEqual({ triggers: ["config"], by: undefined });
});

test("none that comes is the interval", async () => {
  expect(await new Triggers().next(1, 0)).toEqual({ triggers: ["interval"], by: undefined });
});

test("changes of the kernel are held back, and come with whatever else comes", async () => {
  const triggers = new Triggers();
  triggers.push("kernel");
  const began = performance.now();
  expect((await triggers.next(LONG, 50)).triggers).toEqual(["kernel"]);
  expect(performance.now() - began).toBeGreaterThanOrEqual(49);
  triggers.push("kernel");
  const next = triggers.next(LONG, LONG);
  triggers.push("signal");
  expect((await next).triggers).toEqual(["kernel", "signal"]);
});
