import * as v from "valibot";
import { faultOf } from "../net/fault.ts";
import type { Config, Located } from "./config.ts";
import { configLimits, type Limits, statedCidrLimit } from "./limits.ts";
import { nearest } from "./nearest.ts";
import { givenTwice, type Mapping, type Node } from "./node.ts";
import { readPlain } from "./plain.ts";
import { type Position, type Problem, quote } from "./problem.ts";
import { isNull, scalarValue } from "./scalar.ts";
import { configSchema } from "./schema.ts";
import type { Text } from "./text.ts";

/** One text that holds a config, read. */
export interface ConfigDocument {
  /** What is right of it. */
  readonly config: Config;
  /** Where the entries of its lists stand, right or wrong, by the lists' keys. */
  readonly entries: ReadonlyMap<string, readonly Position[]>;
  readonly problems: readonly Problem[];
}

/** A config of which the keys are known, but not yet what their values mean. */
export interface OpenDocument {
  /** Whether it says so. */
  readonly enableIPv6: boolean;
  /** @param enableIPv6 whether IPv6 CIDRs are allowed, by whatever says so */
  read(enableIPv6: boolean): ConfigDocument;
}

/** Opens a YAML or JSON text as a config. */
export async function openConfigDocument(text: Text): Promise<OpenDocument> {
  const limits = configLimits(statedCidrLimit(text.content));
  const plain = readPlain(text, limits);
  const { root, problems } = plain ? { root: plain, problems: [] } : await readYaml(text, limits);
  const reader = new Reader(problems);
  if (root && !isNull(root)) reader.open(root);
  const enabled = reader.peek("enableIPv6");
  return { enableIPv6: enabled === true, read: enableIPv6 => readConfig(reader, enableIPv6) };
}

function readConfig(reader: Reader, enableIPv6: boolean): ConfigDocument {
  const { entries } = configSchema(enableIPv6);
  return {
    config: {
      nonMasqueradeCIDRs: reader.list("nonMasqueradeCIDRs", entries.nonMasqueradeCIDRs),
      masqueradeCIDRs: reader.list("masqueradeCIDRs", entries.masqueradeCIDRs),
      sourceCIDRs: reader.list("sourceCIDRs", entries.sourceCIDRs),
      nonMasqueradeSourceCIDRs: reader.list("nonMasqueradeSourceCIDRs", entries.nonMasqueradeSourceCIDRs),
      outputInterfaces: reader.list("outputInterfaces", entries.outputInterfaces),
      masqLinkLocal: reader.value("masqLinkLocal", entries.masqLinkLocal),
      masqLinkLocalIPv6: reader.value("masqLinkLocalIPv6", entries.masqLinkLocalIPv6),
      enableIPv6: reader.value("enableIPv6", entries.enableIPv6),
      resyncInterval: reader.value("resyncInterval", entries.resyncInterval),
      cidrLimit: reader.value("cidrLimit", entries.cidrLimit),
    },
    entries: reader.entries,
    problems: reader.problems,
  };
}

/** The parser is loaded here, which takes 3 ms: most configs do not need it. */
async function readYaml(
  text: Text,
  limits: Limits,
): Promise<{ root: Node | undefined; problems: Problem[] }> {
  const [{ parseYaml }, { buildTree }] = await Promise.all([import("./syntax.ts"), import("./tree.ts")]);
  const { documents, problems } = parseYaml(text, limits);
  const [document] = documents;
  if (!document) return { root: undefined, problems };
  const tree = buildTree(text, document);
  return { root: tree.root, problems: [...problems, ...tree.problems] };
}

const KEYS = Object.keys(configSchema(true).entries);

/** Other names of keys, in small letters. Tencent's TKE has its own for one of them. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ["nonmasqueradesrccidrs", "nonMasqueradeSourceCIDRs"],
]);
const SPELLINGS: ReadonlyMap<string, string> = new Map([
  ...KEYS.map(key => [key.toLowerCase(), key] as const),
  ...OTHER_NAMES,
]);

/** Takes the values of one mapping apart by its keys. */
class Reader {
  readonly entries = new Map<string, readonly Position[]>();
  /** By the right spelling of their keys. */
  private readonly values = new Map<string, Node>();

  constructor(readonly problems: Problem[]) {}

  open(root: Node): void {
    if (root.kind === "mapping") this.find(root);
    else {
      const what = `expected keys with values, found ${describe(root)}`;
      this.error(root.at, what, 'write as in "nonMasqueradeCIDRs: [10.0.0.0/8]"');
    }
  }

  /** The value of a key before it is checked; undefined if it is not there or is no scalar. */
  peek(key: string): unknown {
    const node = this.values.get(key);
    return node?.kind === "scalar" ? scalarValue(node) : undefined;
  }

  /** The value of a key; undefined if it is not there, `null`, or wrong. */
  value<T>(key: string, schema: v.GenericSchema<unknown, T>): Located<NonNullable<T>> | undefined {
    const node = this.values.get(key);
    if (!node) return undefined;
    const value = this.check(key, node, schema);
    return value === undefined || value === null ? undefined : { value, at: node.at };
  }

  /** The list of a key, one without entries for `null`; undefined if it is not there or anything in it is wrong. */
  list<T>(
    key: string,
    schema: v.GenericSchema<unknown, readonly T[] | null | undefined>,
  ): Located<T>[] | undefined {
    const node = this.values.get(key);
    if (!node) return undefined;
    const nodes = node.kind === "list" ? node.items : [];
    const places = nodes.map(({ at }) => at);
    this.entries.set(key, places);
    const values = this.check(key, node, schema);
    if (values === undefined) return undefined;
    return (values ?? []).map((value, i) => ({ value, at: places[i] ?? node.at }));
  }

  /** Go's JSON decoder, and so ip-masq-agent, does not mind how capitals are used in keys. */
  private find({ entries }: Mapping): void {
    const spelt = new Map<string, Mapping["entries"] extends ReadonlyMap<string, infer E> ? E : never>();
    for (const entry of entries.values()) {
      const { key, value } = entry;
      const right = SPELLINGS.get(key.text.toLowerCase());
      if (right === undefined) {
        const meant = nearest(key.text, KEYS);
        const remedy = meant ? `did you mean ${quote(meant)}?` : `the keys are ${KEYS.join(", ")}`;
        this.problems.push({
          severity: "warning",
          at: key.at,
          key: key.text,
          what: "not a known key",
          remedy,
        });
        continue;
      }
      if (right !== key.text && key.text !== "nonMasqueradeSrcCIDRs") {
        const what = "capitals are used otherwise in this key";
        this.problems.push({
          severity: "warning",
          at: key.at,
          key: key.text,
          what,
          remedy: `write ${quote(right)}`,
        });
      }
      const first = spelt.get(right);
      if (first) this.problems.push(givenTwice(key, first.key));
      else {
        spelt.set(right, entry);
        this.values.set(right, value);
      }
    }
  }

  private check<T>(key: string, node: Node, schema: v.GenericSchema<unknown, T>): T | undefined {
    const result = v.safeParse(schema, plain(node));
    if (result.success) return result.output;
    for (const issue of result.issues) {
      const indices = issue.path?.map(it => Number(it.key)) ?? [];
      const inner = indices.reduce<Node>((at, i) => (at.kind === "list" ? (at.items[i] ?? at) : at), node);
      const path = key + indices.map(i => `[${i}]`).join("");
      const what =
        faultOf(issue)?.what ??
        `expected ${EXPECTED[issue.type] ?? issue.expected}, found ${describe(inner)}`;
      this.error(inner.at, what, issue.message, path);
    }
    return undefined;
  }

  private error(at: Position, what: string, remedy: string, key?: string): void {
    this.problems.push({ severity: "error", at, ...(key === undefined ? {} : { key }), what, remedy });
  }
}

/** By the types of valibot's issues. */
const EXPECTED: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  integer: "a whole number",
  min_value: "a number of 1 or more",
  number: "a number",
  string: "text",
};

/** A value as JSON would have it. What stands in a list within a list or deeper is never asked for. */
function plain(node: Node): unknown {
  if (node.kind === "mapping") return {};
  return node.kind === "list"
    ? node.items.map(item => (item.kind === "scalar" ? scalarValue(item) : {}))
    : scalarValue(node);
}

function describe(node: Node): string {
  if (node.kind !== "scalar") return node.kind === "list" ? "a list" : "a mapping";
  if (isNull(node)) return "nothing";
  return node.style === "plain" && typeof scalarValue(node) !== "string" ? node.text : quote(node.text);
}
