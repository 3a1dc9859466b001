/** The merge key `<<`, as Go's YAML reads it. */
import { expect, test } from "bun:test";
import { Folder } from "./folder.ts";

const BASE =
  "x-base: &base\n  masqLinkLocal: true\n  cidrLimit: 7\nx-other: &other {cidrLimit: 9, resyncInterval: 5m}\n";

test.each([
  ["a mapping", "<<: *base\n", [true, 7, undefined]],
  ["behind other keys", "resyncInterval: 2m\n<<: *base\n", [true, 7, 120_000]],
  ["a list, of which the first wins", "<<: [*base, *other]\n", [true, 7, 300_000]],
  ["a list in the other order", "<<: [*other, *base]\n", [true, 9, 300_000]],
  ["under a key that is written too", "cidrLimit: 5\n<<: *base\n", [true, 5, undefined]],
  ["in front of a key that is written too", "<<: *base\ncidrLimit: 5\n", [true, 5, undefined]],
  ["under a key in other capitals", "CIDRLIMIT: 5\n<<: *base\n", [true, 5, undefined]],
  ["twice, of which the last wins", "<<: *base\n<<: *other\n", [true, 9, 300_000]],
  ["a mapping as it is", "<<: {cidrLimit: 6}\n", [undefined, 6, undefined]],
  ["of a mapping that merges", "x-more: &more {<<: *base, cidrLimit: 4}\n<<: *more\n", [true, 4, undefined]],
])("%s", async (_what, config, [local, limit, interval]) => {
  await using folder = await Folder.create({ c: BASE + config });
  const loaded = await folder.load("c");
  if (!loaded.ok) throw new Error((await folder.problems("c")).join("\n"));
  const { masqLinkLocal, cidrLimit, resyncInterval } = loaded.config;
  expect([masqLinkLocal?.value, cidrLimit?.value, resyncInterval?.value]).toEqual([local, limit, interval]);
});

const REMEDY = 'give it the alias of a mapping, as in "<<: *base"';
test.each([
  ["text", "<<: base\n", [`c:5:5: the merge key "<<" with something else than a mapping; ${REMEDY}`]],
  ["nothing", "<<:\n", [`c:5:4: the merge key "<<" with something else than a mapping; ${REMEDY}`]],
  [
    "a list in a list",
    "<<: [[*base]]\n",
    [`c:5:6: the merge key "<<" with something else than a mapping; ${REMEDY}`],
  ],
  [
    "no anchor",
    "<<: *x\n",
    ['c:5:5: the alias "*x" has no anchor; set the anchor "&x" in front of a value before it'],
  ],
  ["itself", "a: &a {<<: *a}\n", ['c:5:12: the alias "*a" contains itself; write the value out']],
])("%s is refused", async (_what, config, lines) => {
  await using folder = await Folder.create({ c: `${BASE}${config}cidrLimit: 5\n` });
  expect((await folder.problems("c")).filter(it => !it.includes("warning: "))).toEqual(lines);
});

test('a "<<" in quotes is a key like others', async () => {
  await using folder = await Folder.create({ c: `${BASE}cidrLimit: 5\n"<<": *base\n` });
  expect((await folder.problems("c")).filter(it => it.includes(": <<: "))).toHaveLength(1);
});

test("merging more than 100 times is refused, as any use of aliases", async () => {
  await using folder = await Folder.create({ c: `${BASE}<<: [${Array(101).fill("*base").join(",")}]\n` });
  expect((await folder.problems("c"))[0]).toEndWith("more than 100 uses of aliases; write the values out");
});
