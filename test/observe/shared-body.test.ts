import { expect, test } from "bun:test";
import { type Body, SharedBody } from "../../src/observe/shared-body.ts";

function text({ parts }: Body): string {
  return Buffer.concat(parts).toString();
}

test("a body is rendered once per second for all requests", async () => {
  let renders = 0;
  const body = new SharedBody(
    () => [`${++renders}`, "ü"],
    () => {},
  );
  const all = await Promise.all(Array.from({ length: 1000 }, () => body.get()));
  expect([...new Set(all)].map(text)).toEqual(["1ü"]);
  expect(all[0]?.length).toBe(3);
  expect(text(await body.get())).toBe("1ü");
  await Bun.sleep(1050);
  expect(text(await body.get())).toBe("2ü");
});

test("slow rendering takes at most a tenth of the time", async () => {
  let renders = 0;
  const body = new SharedBody(
    async () => {
      await Bun.sleep(150);
      return [`${++renders}`];
    },
    () => {},
  );
  await body.get();
  await Bun.sleep(1200);
  expect(text(await body.get())).toBe("1");
  await Bun.sleep(300);
  expect(text(await body.get())).toBe("2");
});

test("a failed rendering is retried after a second, not for every request", async () => {
  let tries = 0;
  const body = new SharedBody(
    () => {
      tries++;
      throw new Error("no memory");
    },
    () => {},
  );
  const outcomes = await Promise.allSettled(Array.from({ length: 100 }, () => body.get()));
  expect(new Set(outcomes.map(it => it.status))).toEqual(new Set(["rejected"]));
  expect(tries).toBe(1);
  await Bun.sleep(1050);
  expect(body.get()).rejects.toThrow("no memory");
  expect(tries).toBe(2);
});

test("other work continues while a long body is rendered, and the body is kept as long as sending it takes", async () => {
  const outdated: number[] = [];
  const piece = "a".repeat(100);
  const body = new SharedBody(
    () => Array.from({ length: 300_000 }, () => piece),
    ({ length }) => outdated.push(length),
  );
  let turns = 0;
  const work = setInterval(() => turns++, 1);
  const first = await body.get();
  clearInterval(work);
  expect(turns).toBeGreaterThan(1);
  expect(first.length).toBe(30_000_000);
  expect(await body.get()).toBe(first); // for 15 s, the time to send it at 2 MiB/s
  expect(outdated).toEqual([]);
});
