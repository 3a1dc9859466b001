/** The merge key `<<`, as Go's YAML reads it. */
import { expect, test } from "bun:test";
import { Folder } from "./folder.ts";

const BASE =
  "x-base: &base\n  masqLinkLocal: true\n  cidrLimit: 7\nx-other: &other {cidrLimit: 9, resyncInterval: 5m}\n";

test.each([
  ["a mapping", "<<: *base\n", [true, 7, undefined]],
  ["after other keys", "resyncInterval: 2m\n<<: *base\n", [true, 7, 120_000]],
  ["a list, whose first entry wins", "<<: [*base, *other]\n", [true, 7, 300_000]],
  ["a list in the other order", "<<: [*other, *base]\n", [true, 9, 300_000]],
  ["after the same key", "cidrLimit: 5\n<<: *base\n", [true, 5, undefined]],
  ["before the same key", "<<: *base\ncidrLimit: 5\n", [true, 5, undefined]],
  ["after the same key with other capitalization", "CIDRLIMIT: 5\n<<: *base\n", [true, 5, undefined]],
  ["twice; the last one wins", "<<: *base\n<<: *other\n", [true, 9, 300_000]],
  ["a literal mapping", "<<: {cidrLimit: 6}\n", [undefined, 6, undefined]],
  [
    "a mapping with a merge key",
    "x-more: &more {<<: *base, cidrLimit: 4}\n<<: *more\n",
    [true, 4, undefined],
  ],
])("%s", async (_what, config, [local, limit, interval]) => {
  await using folder = await Folder.create({ c: BASE + config });
  const loaded = await folder.load("c");
  if (!loaded.ok) throw new Error((await folder.problems("c")).join("\n"));
  const { masqLinkLocal, cidrLimit, resyncInterval } = loaded.config;
  expect([masqLinkLocal?.value, cidrLimit?.value, resyncInterval?.value]).toEqual([local, limit, interval]);
});

const REMEDY = 'give it an alias of a mapping, for example "<<: *base"';
test.each([
  ["text", "<<: base\n", [`c:5:5: the merge key "<<" without a mapping; ${REMEDY}`]],
  ["nothing", "<<:\n", [`c:5:4: the merge key "<<" without a mapping; ${REMEDY}`]],
  ["a list in a list", "<<: [[*base]]\n", [`c:5:6: the merge key "<<" without a mapping; ${REMEDY}`]],
  ["no anchor", "<<: *x\n", ['c:5:5: the alias "*x" has no anchor; define "&x" on an earlier value']],
  ["itself", "a: &a {<<: *a}\n", ['c:5:12: the alias "*a" contains itself; write out the value']],
])("%s is refused", async (_what, config, lines) => {
  await using folder = await Folder.create({ c: `${BASE}${config}cidrLimit: 5\n` });
  expect((await folder.problems("c")).filter(it => !it.includes("warning: "))).toEqual(lines);
});

test('a quoted "<<" is an ordinary key', async () => {
  await using folder = await Folder.create({ c: `${BASE}cidrLimit: 5\n"<<": *base\n` });
  expect((await folder.problems("c")).filter(it => it.includes(": <<: "))).toHaveLength(1);
});

test("merging counts as use of aliases, and more than 100 are refused", async () => {
  await using folder = await Folder.create({ c: `${BASE}<<: [${Array(101).fill("*base").join(",")}]\n` });
  expect((await folder.problems("c"))[0]).toEndWith("more than 100 uses of aliases; write out the values");
});
