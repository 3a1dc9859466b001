import { expect, test } from "bun:test";
import { MOST_ELEMENTS } from "../../src/config/text.ts";
import { Folder } from "./folder.ts";

/** Milliseconds. Reading so many CIDRs is slow on a busy machine. */
const LIMIT_MS = 30_000;

const END = `entries in all lists together exceed the limit of ${MOST_ELEMENTS}; merge adjacent CIDRs, or remove some`;
const LIMIT = `cidrLimit: ${MOST_ELEMENTS}\n`;
const ALL = Array.from(
  { length: MOST_ELEMENTS },
  (_, i) => `${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/32`,
);
const lines = (key: string, count: number) => `${key}:\n- ${ALL.slice(0, count).join("\n- ")}\n`;
const half = MOST_ELEMENTS / 2;

test.each<[string, Record<string, string>, string[]]>([
  [
    "the maximum",
    { a: `${LIMIT}${lines("sourceCIDRs", half)}`, b: LIMIT + lines("masqueradeCIDRs", half) },
    [],
  ],
  [
    "one too many, in two lists",
    { a: `${LIMIT}${lines("sourceCIDRs", half)}${lines("masqueradeCIDRs", half)}outputInterfaces: [eth0]\n` },
    [`d/ip-masq-a: ${MOST_ELEMENTS + 1} ${END}`],
  ],
  [
    "one too many, in two files",
    { a: `${LIMIT}${lines("sourceCIDRs", half)}`, b: LIMIT + lines("masqueradeCIDRs", half + 1) },
    [`d/ip-masq-a: ${MOST_ELEMENTS + 1} ${END}`],
  ],
  [
    "too many through aliases",
    {
      a: `${LIMIT}masqueradeCIDRs: &a [${ALL.slice(0, 26_000).join(",")}]\nsourceCIDRs: *a\nnonMasqueradeCIDRs: *a\nnonMasqueradeSourceCIDRs: *a\n`,
    },
    [`d/ip-masq-a: 104000 ${END}`],
  ],
  [
    "too many to parse",
    { a: `${LIMIT}nonMasqueradeCIDRs: [${ALL.join(",")},${ALL.join(",")}]\n` },
    [expect.stringMatching(new RegExp(`d/ip-masq-a:2:\\d+: about ${2 * MOST_ELEMENTS} ${END}$`))],
  ],
])(
  "%s",
  async (_what, files, problems) => {
    await using folder = await Folder.create(
      Object.fromEntries(Object.entries(files).map(([name, text]) => [`d/ip-masq-${name}`, text])),
    );
    expect(await folder.problems("d")).toEqual(problems);
  },
  LIMIT_MS,
);
