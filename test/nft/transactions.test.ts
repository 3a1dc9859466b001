import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cidr } from "../../src/net/cidr.ts";
import type { Command } from "../../src/nft/json.ts";
import type { NewSet } from "../../src/nft/new-set.ts";
import { Nft } from "../../src/nft/nft.ts";
import { type FailureKind, ProgramError } from "../../src/system/program.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "nft-"));
});
afterEach(() => rm(directory, { recursive: true }));

/** Stands for nft: saves each document, then runs a shell script that has the document in `$input`. */
function nft(script = ":"): Nft {
  const keep = `input=$(cat); n=$(ls "${directory}" | wc -l); printf %s "$input" >"${directory}/$(printf %03d "$n")"`;
  return new Nft(["sh", "-c", `${keep}; ${script}`, "nft"]);
}

/** The commands of each document that nft got. */
async function documents(): Promise<unknown[][]> {
  const files = (await readdir(directory)).sort();
  const texts = await Promise.all(files.map(file => readFile(join(directory, file), "utf8")));
  return texts.map(text => JSON.parse(text).nftables.slice(1));
}

const table = (name: string): Command => ({ add: { table: { family: "ip", name } } });
const fails = (message: string) => `echo "internal:0:0-0: Error: ${message}" >&2; exit 1`;

const failure = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    error => (error instanceof ProgramError ? error : undefined),
  );

test.each<[string, FailureKind]>([
  ["Operation not permitted", "not-permitted"],
  ["Could not process rule: Message too long", "too-large"],
  ["Could not process rule: Operation not supported", "unsupported"],
  ["Could not process rule: Device or resource busy", "busy"],
  ["Could not process rule: No buffer space available", "exhausted"],
  ["syntax error", "refused"],
])("%s means %s", async (message, kind) => {
  const error = await failure(nft(fails(message)).transactions.attempt([table("t")]));
  const what = kind === "not-permitted" ? message : `Error: ${message}`;
  expect([error?.kind, error?.what]).toEqual([kind, what]);
});

test("text on standard error is a failure even with exit code 0", async () => {
  const error = await failure(nft("echo broken >&2").transactions.check([table("t")]));
  expect(error?.kind).toBe("refused");
});

const NUMBERED = '{"add": {"rule": {"chain": "c", "handle": 7}}}';

test.each<[string, string, boolean]>([
  [
    "numbers all new rules",
    `{"nftables": [{"metainfo": {}}, {"add": {"table": {"handle": 1}}}, ${NUMBERED}]}`,
    true,
  ],
  [
    "numbers no rule",
    '{"nftables": [{"add": {"table": {"handle": 1}}}, {"add": {"rule": {"chain": "c"}}}]}',
    false,
  ],
  ["numbers more rules", `{"nftables": [${NUMBERED}, ${NUMBERED}]}`, false],
  ["is empty", "", false],
  ["is cut off", `{"nftables": [${NUMBERED}`, false],
])(
  "a transaction is confirmed only by an echo of its rules with numbers: one that %s",
  async (_what, echo, is) => {
    const rule: Command = { add: { rule: { family: "ip", table: "t", chain: "c", expr: [] } } };
    const { transactions } = nft(`[ "$1" = --echo ] && printf %s '${echo}'`);
    expect(await transactions.attemptEchoed([table("t"), rule])).toBe(is);
  },
);

test("a refused transaction is not confirmed", async () => {
  const error = await failure(nft(fails("File exists")).transactions.attemptEchoed([table("t")]));
  expect(error?.kind).toBe("refused");
});

test("the error of a commit names the refused command, found with --check", async () => {
  const { transactions } = nft(`case "$input" in *bad*) ${fails("no")};; esac`);
  const commands = ["a", "b", "bad", "c", "d"].map(table);
  const error = await failure(transactions.commit(commands));
  expect(error?.what).toBe("Error: no (at: add table ip bad)");
  expect((await documents())[0]).toHaveLength(5);
});

/** A set of so many elements. */
const set = (elements: number): NewSet => ({
  table: { family: "ip", name: "t" },
  set: {
    name: "s",
    of: "daddr",
    flags: ["interval"],
    counting: true,
    elements: Array.from({ length: elements }, (_, i) => ({
      value: Cidr.literal(`10.0.${i >> 8}.${i & 255}/32`),
      comment: `config:${i}`,
    })),
  },
  declaration: "type",
  replaces: true,
});

describe("a set that does not fit into one message", () => {
  const sizes = async () =>
    (await documents()).map(commands =>
      commands.map(it => JSON.stringify(it).match(/10\.0\./g)?.length ?? 0),
    );

  test("is built in several transactions, from then on at once", async () => {
    const { transactions } = nft(`[ \${#input} -lt 90000 ] || { ${fails("Message too long")}; }`);
    await transactions.build([set(2500)]);
    const split = [[0], [0], [1000], [1000], [500]];
    expect(await sizes()).toEqual([[0, 0, 2500], ...split]);
    await transactions.build([set(2500)]);
    expect(await sizes()).toEqual([[0, 0, 2500], ...split, ...split]);
  });

  test("fails if 1,000 elements are too many", async () => {
    const { transactions } = nft(`[ \${#input} -lt 1000 ] || { ${fails("Message too long")}; }`);
    expect((await failure(transactions.build([set(2500)])))?.kind).toBe("too-large");
    expect(await sizes()).toEqual([[0, 0, 2500], [0], [0], [1000]]);
  });
});

test("a long set is sent in nft's syntax", async () => {
  await nft().transactions.build([set(5000)]);
  const [file = ""] = await readdir(directory);
  const lines = (await readFile(join(directory, file), "utf8")).split("\n");
  expect(lines).toHaveLength(5004);
  expect([...lines.slice(0, 4), ...lines.slice(-2)]).toEqual([
    "add table ip t",
    "delete set ip t s",
    "add set ip t s { type ipv4_addr; flags interval; counter; elements = {",
    '10.0.0.0/32 comment "config:0",',
    '10.0.19.135/32 comment "config:4999",',
    "} }",
  ]);
});
