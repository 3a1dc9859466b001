import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Lab } from "../../../lab/lab.ts";
import { output } from "../../../lab/output.ts";
import { type DebianTools, debianTools } from "../../debian/tools.ts";
import { EXPECTATIONS, OTHER, OTHER6 } from "../../kernel/expectations.ts";
import { iptablesOf, nftOf, tryPair, type Version } from "../../kernel/pairs.ts";
import type { Measured } from "../compatibility.ts";
import { keepResults } from "../compatibility.ts";
import { CALLS, crashing, type DECLARATIONS } from "./crashes.ts";
import { MATRIX } from "./suites.ts";

/** A version with its name in the table. */
interface Named extends Version {
  readonly name: string;
}

const CASES = EXPECTATIONS.map(([, desired, expected]) => [desired, expected] as const);
/** iptables-nft 1.8.7 prints rules of newer versions without the match of a mark. */
const CASES_WITHOUT_MARKS = CASES.filter(([policy]) => policy.nonMasqueradeMarks.length === 0);
/** Over UDP and TCP. */
const CONNECTIONS = 2 * CASES.reduce((sum, [, expected]) => sum + expected.length, 0);

const suites = await Promise.all(MATRIX.map(toolsOf));
const nfts = unique(suites.map(({ tools, nft }) => ({ ...nftOf(tools), name: nft, nft: tools.nft })));
const measured: Measured[] = [];

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.create();
  for (const address of [OTHER, OTHER6]) await lab.addPodAddress(address);
});
afterEach(() => lab.flushRules());
afterAll(async () => {
  await lab.close();
  if (measured.length === 4) await keepResults("versions", measured);
});

matrix("nftables", nfts);
// kubernetes/kubernetes issue 136786. If ipmasq declared a set by its type, the tests above would fail.
test("nft 0.9.8 and 1.0.6 crash on sets and maps that nft 1.1.3 or later declares by type", async () => {
  const crashed = async (
    writer: { readonly nft: readonly string[] },
    declaration: keyof typeof DECLARATIONS,
  ) => {
    const rows: [string, string[]][] = [];
    for (const { name, nft } of nfts) rows.push([name, await crashing(lab, writer.nft, nft, declaration)]);
    return Object.fromEntries(rows);
  };
  const [oldest, old, writer, newest] = nfts;
  if (!oldest || !old || !writer || !newest) throw new Error("fewer than four versions of nft");
  const none = Object.fromEntries(nfts.map(({ name }) => [name, []]));
  for (const older of [oldest, old]) expect(await crashed(older, "type")).toEqual(none);
  const by = await crashed(writer, "type");
  expect(await crashed(newest, "type")).toEqual(by);
  expect(await crashed(newest, "map type")).toEqual(by);
  expect(await crashed(newest, "concatenation")).toEqual(none);
  expect(await crashed(newest, "typeof")).toEqual(none);
  expect(by).toMatchObject({ [writer.name]: [], [newest.name]: [] });
  for (const { name } of [oldest, old]) expect(by[name]).toContain("`add rule`");
  measured.push({
    title: "Crashes beside a newer nft",
    how: `Another table has a set declared by nft ${writer.name} or ${newest.name} as \`type ipv4_addr\`, or a map declared as \`type ipv4_addr : verdict\`. Each cell has the result of one command beside that set or map. No version crashes if the set is declared by \`typeof\`, as ipmasq's are, if its type is a concatenation, or if an older nft wrote it.`,
    columns: ["nft", ...nfts.map(({ name }) => name)],
    rows: Object.keys(CALLS).map(call => [
      call,
      ...nfts.map(({ name }) => (by[name]?.includes(call) ? "**crashes**" : "works")),
    ]),
    raw: by,
  });
}, 120_000);

for (const variant of ["iptables-nft", "iptables-legacy"] as const) {
  matrix(
    variant,
    unique(suites.map(({ tools, iptables }) => ({ ...iptablesOf(variant, tools), name: iptables }))),
  );
}

/** Tests each version with every version, itself included, and stores the results as a table. */
function matrix(backend: string, versions: readonly Named[]): void {
  const cells = new Map<string, string>();
  const writers = versions.filter(({ refusal }) => refusal === undefined);
  const pairs = writers.flatMap(writer => versions.map(reader => ({ writer, reader })));

  describe(backend, () => {
    test.each(pairs)(
      "$reader.name reads the rules of $writer.name",
      async ({ writer, reader }) => {
        const cell = `${writer.name} ${reader.name}`;
        cells.set(cell, "**fails**");
        await tryPair(lab, writer, reader, losesMarks(backend, writer, reader) ? CASES_WITHOUT_MARKS : CASES);
        cells.set(cell, reader.refusal === undefined ? "in sync" : "reads, refuses to write");
      },
      60_000,
    );

    afterAll(() => {
      if (cells.size < pairs.length) return;
      measured.push({
        title: `Rules written by ${backend}`,
        how: `The version of a row writes ${CASES.length} policies, one after the other. The version of a column lists the rules of each policy without errors, and a sync with that version finds no difference and writes nothing. Then it writes a policy itself, and a sync with the first version finds no difference. In each cell, ${CONNECTIONS} connections get the right verdict.${backend === "iptables-nft" ? " iptables-nft 1.8.7 does not print marks of newer versions, so these cells leave out the policies with marks." : ""}`,
        columns: ["written by", ...versions.map(({ name }) => name)],
        rows: writers.map(writer => [
          writer.name,
          ...versions.map(reader => cells.get(`${writer.name} ${reader.name}`) ?? ""),
        ]),
        raw: Object.fromEntries(cells),
      });
    });
  });
}

function losesMarks(backend: string, writer: Named, reader: Named): boolean {
  const isOld = ({ name }: Named) => Bun.semver.order(name.split(" ")[0] ?? "", "1.8.9") < 0;
  return backend === "iptables-nft" && isOld(reader) && !isOld(writer);
}

async function toolsOf(suite: string): Promise<{ tools: DebianTools; nft: string; iptables: string }> {
  const tools = await debianTools(suite);
  if ("missing" in tools) throw new Error(tools.missing);
  const [, iptables = ""] = /v(\S+)/.exec(await output([`${tools.wrapper}/iptables`, "--version"])) ?? [];
  return { tools, nft: `${tools.version} (${suite})`, iptables: `${iptables} (${suite})` };
}

/** Leaves out suites with the same version as the previous one. */
function unique<T extends { readonly name: string }>(versions: readonly T[]): T[] {
  const number = (version: T | undefined) => version?.name.split(" ")[0];
  return versions.filter((it, i) => number(it) !== number(versions[i - 1]));
}
