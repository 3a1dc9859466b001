import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command, SetElement } from "../../src/nft/json.ts";
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
  expect([error?.kind, error?.what]).toEqual([kind, `Error: ${message}`]);
});

test("text on standard error is a failure even with exit code 0", async () => {
  const error = await failure(nft("echo broken >&2").transactions.check([table("t")]));
  expect(error?.kind).toBe("refused");
});

test("the error of a commit names the refused command, found with --check", async () => {
  const { transactions } = nft(`case "$input" in *bad*) ${fails("no")};; esac`);
  const commands = ["a", "b", "bad", "c", "d"].map(table);
  const error = await failure(transactions.commit(commands));
  expect(error?.what).toBe(`Error: no (at ${JSON.stringify(table("bad"))})`);
  expect((await documents())[0]).toHaveLength(5);
});

describe("a set that does not fit into one message", () => {
  const elem: SetElement[] = Array.from({ length: 2500 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  const set: Command = { add: { set: { family: "ip", table: "t", name: "s", type: "ipv4_addr", elem } } };
  const sizes = async () =>
    (await documents()).map(commands =>
      commands.map(it => JSON.stringify(it).match(/10\.0\./g)?.length ?? 0),
    );

  test("is built in several transactions, from then on at once", async () => {
    const { transactions } = nft(`[ \${#input} -lt 30000 ] || { ${fails("Message too long")}; }`);
    await transactions.build([table("t"), set]);
    const split = [[0], [1000], [1000], [500]];
    expect(await sizes()).toEqual([[0, 2500], ...split]);
    await transactions.build([table("t"), set]);
    expect(await sizes()).toEqual([[0, 2500], ...split, ...split]);
  });

  test("fails if 1,000 elements are too many", async () => {
    const { transactions } = nft(fails("Message too long"));
    expect((await failure(transactions.build([set])))?.kind).toBe("too-large");
    expect(await sizes()).toEqual([[2500], [1000]]);
  });
});
