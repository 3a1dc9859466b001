import * as v from "valibot";
import type { ConfigError } from "../config/problem.ts";
import { readSources } from "../config/sources.ts";
import { decode, MANIFEST_LIMITS } from "../config/text.ts";
import { describe, type Mapping, type Node, scalarValue } from "../config/values.ts";
import { parseYaml } from "../config/yaml.ts";
import { type Address, Cidr, parseAddress } from "../net/cidr.ts";
import { parseOneInterface } from "../net/interface-name.ts";
import { parseBits } from "../net/mark.ts";
import { failureOf, parsedBy } from "../net/parse-failure.ts";
import { VERDICTS } from "../net/verdict.ts";
import { closestMatch } from "../system/closest-match.ts";

const text = (remedy: string) => v.string(remedy);
const address = v.pipe(
  text('write an address, such as "203.0.113.7"'),
  v.examples(["203.0.113.7"]),
  parsedBy(parseAddress),
);
const ADDRESSES = v.array(address, "write an address or a list of addresses");
/** As it is written: a single address may stand for a list. */
const WRITTEN_ADDRESSES = v.union([v.string(), v.array(v.string())]);

/** Everything about a test file, in one record. */
const about = <S extends v.GenericSchema>(schema: S, description: string) =>
  v.pipe(schema, v.description(description));

function fileSchema<L extends v.GenericSchema>(addresses: L) {
  const testCase = v.strictObject(
    {
      name: v.optional(about(text("write the purpose of the test"), "purpose of the test, for the output")),
      source: v.optional(
        about(addresses, "source address of the connection, or several; missing: any source"),
      ),
      destination: about(
        addresses,
        "destination address of the connection, or several; each combination is checked",
      ),
      out: v.optional(
        about(
          v.pipe(text('write an interface, such as "eth0"'), parsedBy(parseOneInterface)),
          "interface that the connection leaves by; missing: one that the config allows",
        ),
      ),
      mark: v.optional(
        about(
          v.pipe(
            v.union([v.string(), v.number()], 'write a mark, such as "0x200"'),
            v.transform(String),
            parsedBy(parseBits),
          ),
          "mark of its packets; missing: none",
        ),
      ),
      verdict: about(v.picklist(VERDICTS, 'write "keep" or "masquerade"'), "expected verdict"),
      cidr: v.optional(
        about(
          v.pipe(text('write a CIDR, such as "10.0.0.0/8"'), parsedBy(Cidr.parse)),
          "CIDR of the config that must decide: the narrowest that contains the address",
        ),
      ),
    },
    'write a mapping with "destination" and "verdict"',
  );
  return v.strictObject(
    {
      config: v.optional(
        about(
          text("write the path of the config"),
          "path of the config, relative to this file; --config takes precedence",
        ),
      ),
      tests: about(
        v.pipe(v.array(testCase, "write a list of tests"), v.minLength(1, "add a test")),
        "connections and their expected verdicts",
      ),
    },
    'write a mapping with the key "tests"',
  );
}

const CHECKED = fileSchema(ADDRESSES);
/** For the JSON Schema. */
export const TestFileJson = fileSchema(WRITTEN_ADDRESSES);

/** Expected verdicts of connections. */
export interface TestFile {
  readonly path: string;
  /** As written in the file. */
  readonly config: string | undefined;
  readonly tests: readonly ExpectedVerdict[];
}

/** The expected verdict of one or more connections. */
export interface ExpectedVerdict {
  readonly name: string | undefined;
  /** Line and column in the file, starting at 1. */
  readonly line: number;
  readonly column: number;
  readonly connections: readonly {
    readonly source?: Address;
    readonly destination: Address;
    readonly out?: string;
    readonly mark?: number;
  }[];
  readonly verdict: (typeof VERDICTS)[number];
  readonly cidr: Cidr | undefined;
}

/** Reads a test file, or returns its errors. */
export async function readTestFile(path: string): Promise<TestFile | readonly ConfigError[]> {
  const { files, problems } = await readSources(path);
  const errors = problems.filter(it => it.severity === "error");
  if (errors.length > 0) return errors;
  const [file] = files;
  if (!file) return [errorAt(path, "does not exist", "fix the path, or create the file")];
  if (file.path !== path) return [errorAt(path, "is a directory", "write the path of a test file")];
  const decoded = decode(path, file.bytes);
  if ("what" in decoded) return [{ ...decoded, severity: "error" }];
  const parsed = parseYaml(decoded, { ...MANIFEST_LIMITS, documents: 1 });
  const syntax = parsed.problems.filter(it => it.severity === "error");
  const [root] = parsed.roots;
  if (syntax.length > 0) return syntax;
  if (!root) return [errorAt(path, "the file is empty", 'add the key "tests"')];
  const result = v.safeParse(CHECKED, plain(root));
  if (!result.success) return result.issues.map(issue => errorOf(root, issue));
  const { config, tests } = result.output;
  const expected = tests.map((it, i) => expectedVerdict(it, step(step(root, "tests"), i) ?? root));
  const bad = expected.flatMap(it => ("severity" in it ? it : []));
  if (bad.length > 0) return bad;
  return { path, config, tests: expected.flatMap(it => ("severity" in it ? [] : it)) };
}

function expectedVerdict(
  it: v.InferOutput<typeof CHECKED>["tests"][number],
  node: Node,
): ExpectedVerdict | ConfigError {
  const { name, source: sources, destination: destinations, out, mark, verdict, cidr } = it;
  const { line, column } = node.at;
  const lonely = destinations.find(to => sources?.every(from => from.family !== to.family));
  if (lonely) {
    const what = `no source has the family of ${lonely.text}`;
    return { severity: "error", at: node.at, key: "source", what, remedy: "write addresses of one family" };
  }
  const connections = destinations.flatMap(destination =>
    (sources ?? [undefined])
      .filter(source => source === undefined || source.family === destination.family)
      .map(source => ({
        destination,
        ...(source && { source }),
        ...(out !== undefined && { out }),
        ...(mark !== undefined && { mark }),
      })),
  );
  return { name, line, column, connections, verdict, cidr };
}

function errorAt(file: string, what: string, remedy: string): ConfigError {
  return { severity: "error", at: { file }, what, remedy };
}

/** The value as plain JSON; a single address becomes a list. */
function plain(node: Node, key = ""): unknown {
  if (node.kind === "list") return node.items.map(it => plain(it));
  if (node.kind === "mapping") {
    return Object.fromEntries([...node.entries].map(([name, { value }]) => [name, plain(value, name)]));
  }
  const value = scalarValue(node);
  const isList = (key === "source" || key === "destination") && typeof value === "string";
  return isList ? [value] : value;
}

function step(node: Node | undefined, key: unknown): Node | undefined {
  if (node?.kind === "mapping") return node.entries.get(`${key}`)?.value;
  return node?.kind === "list" ? node.items[Number(key)] : undefined;
}

function errorOf(root: Node, issue: v.BaseIssue<unknown>): ConfigError {
  const keys = issue.path?.map(({ key }) => key) ?? [];
  const path = keys
    .map(key => (typeof key === "number" ? `[${key}]` : `.${key}`))
    .join("")
    .replace(/^\./, "");
  let node = root;
  let missing: string | undefined;
  for (const key of keys) {
    const next = step(node, key);
    if (next) node = next;
    else if (node.kind === "mapping") missing = `${key}`;
  }
  const last = `${keys.at(-1)}`;
  const about = { severity: "error", ...(path !== "" && { key: path }) } as const;
  if (issue.expected === "never") {
    const parent = keys.slice(0, -1).reduce<Node | undefined>(step, root);
    const names = isMapping(parent) && keys.length > 1 ? CASE_KEYS : FILE_KEYS;
    const meant = closestMatch(last, names);
    const at = (isMapping(parent) ? parent.entries.get(last)?.key.at : undefined) ?? node.at;
    return {
      ...about,
      at,
      what: "unknown key",
      remedy: meant ? `did you mean "${meant}"?` : `use ${names.join(", ")}`,
    };
  }
  if (missing !== undefined)
    return { ...about, at: node.at, what: `"${missing}" is missing`, remedy: "add it" };
  const isEmpty = issue.type === "min_length";
  const what = isEmpty ? "the list is empty" : (failureOf(issue)?.what ?? `${describe(node)} is not valid`);
  return { ...about, at: node.at, what, remedy: issue.message };
}

function isMapping(node: Node | undefined): node is Mapping {
  return node?.kind === "mapping";
}

const FILE_KEYS = Object.keys(CHECKED.entries);
const CASE_KEYS = ["name", "source", "destination", "out", "mark", "verdict", "cidr"];
