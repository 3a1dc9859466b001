import * as v from "valibot";
import { failureOf, quote } from "../net/parse-failure.ts";
import { lookalikeProblem, suspects, templateProblem } from "./accidents.ts";
import { readFast } from "./fast-path.ts";
import { findKeys, isKnown, KNOWN_KEY, unknownKey } from "./key-names.ts";
import { buildConfig, type Config, combinationErrors, KEY_NAMES, KEYS, type KeyName } from "./keys.ts";
import {
  type Allowance,
  allowancesIn,
  type ConfigError,
  type ConfigWarning,
  type Position,
  type Problem,
} from "./problem.ts";
import { configLimits, MOST_ELEMENTS, type Text, tooManyElements } from "./text.ts";
import { describe, type Entry, isNull, jsonValue, type Mapping, type Node, scalarValue } from "./values.ts";

/** A text read as a config. */
export interface ConfigDocument {
  /** The keys with valid values. */
  readonly config: Config;
  /** All entries of lists, valid or not. */
  readonly entries: ReadonlyMap<KeyName, readonly { readonly at: Position }[]>;
  /** The place of `nonMasqueradeCIDRs` if it is a key without a value. */
  readonly nullList: Required<Position> | undefined;
  readonly problems: readonly Problem[];
  readonly allowances: readonly Allowance[];
}

/** A config whose keys are read, but not yet their values. */
export interface OpenDocument {
  readonly file: string;
  /** Whether its own `enableIPv6` is true. */
  readonly enableIPv6: boolean;
  /** Number of entries in all lists, with aliases expanded. */
  readonly elements: number;
  /** @param enableIPv6 whether IPv6 CIDRs are allowed */
  read(enableIPv6: boolean): ConfigDocument;
}

/** Opens a YAML or JSON text as a config. */
export async function openConfigDocument(text: Text): Promise<OpenDocument> {
  const parsed = await parse(text);
  const comments = allowancesIn(text.content, text.at);
  const { root } = parsed;
  const { known, problems } = root && !isNull(root) ? open(text, root) : EMPTY;
  const before = [...parsed.problems, ...comments.problems, ...problems];
  const ipv6 = known.get("enableIPv6");
  return {
    file: text.file,
    enableIPv6: ipv6?.kind === "scalar" && scalarValue(ipv6) === true,
    elements: [...known.values()].reduce((sum, node) => sum + itemsOf(node).length, 0),
    read(enableIPv6) {
      const values = readValues(known, enableIPv6);
      return { ...values, problems: [...before, ...values.problems], allowances: comments.allowances };
    },
  };
}

async function parse(text: Text): Promise<{ root?: Node | undefined; problems: readonly Problem[] }> {
  const limits = configLimits(text.content);
  const root = readFast(text, limits);
  if (root) return { root, problems: [] };
  const template = templateProblem(text);
  if (template) return { problems: [template] };
  // Loading the YAML parser takes 3 ms, and most configs do not need it.
  const { parseYaml } = await import("./yaml.ts");
  const { roots, problems } = parseYaml(text, limits);
  return { root: roots[0], problems };
}

/** The known keys of a document, and the problems of its keys. */
interface Opened {
  readonly known: ReadonlyMap<KeyName, Node>;
  readonly problems: readonly Problem[];
}

const EMPTY: Opened = { known: new Map(), problems: [] };

function open(text: Text, root: Node): Opened {
  if (root.kind !== "mapping") {
    const what = `expected a mapping of keys to values, found ${describe(root)}`;
    const error = errorAt(root.at, what, 'write, for example, "nonMasqueradeCIDRs: [10.0.0.0/8]"');
    return { ...EMPTY, problems: [lookalikeProblem(text) ?? error] };
  }
  const { known, unknown, problems } = findKeys(root);
  const more =
    known.size === 0 && unknown.length > 0 ? noConfig(text, root, unknown) : unknown.map(unknownKey);
  return { known, problems: [...problems, ...more] };
}

/** The errors for a mapping without a known key. As a config, such a mapping would mean the defaults. */
function noConfig(text: Text, root: Mapping, unknown: readonly Entry[]): Problem[] {
  const wrapper = unknown.find(({ value }) => holdsConfig(value));
  if (wrapper) {
    const { key, value } = wrapper;
    const inside = value.kind === "mapping" ? "inside" : "a string inside";
    const remedy = `remove "${key.text}:" and move its keys to the top level`;
    return [errorAt(key.at, `the config is ${inside} ${quote(key.text)}`, remedy, key.text)];
  }
  const lookalike = lookalikeProblem(text);
  if (lookalike) return [lookalike];
  const remedy = "add a key, or leave the file empty to use the defaults";
  return [errorAt(root.at, "not a config: no known key", remedy), ...unknown.map(unknownKey)];
}

/** Whether a value looks like a config, as keys or as a text. */
function holdsConfig(value: Node): boolean {
  if (value.kind === "mapping") return [...value.entries.keys()].some(isKnown);
  return value.kind === "scalar" && KNOWN_KEY.test(value.text);
}

function readValues(
  known: ReadonlyMap<KeyName, Node>,
  enableIPv6: boolean,
): Omit<ConfigDocument, "allowances"> {
  const problems: Problem[] = [];
  const config = buildConfig((name, key) => {
    const node = known.get(name);
    if (!node) return undefined;
    const value = key.read(
      node,
      schema => {
        const result = v.safeParse(schema, jsonValue(node));
        if (result.success) return result.output;
        problems.push(...result.issues.map(issue => problemOf(name, node, issue)));
        return undefined;
      },
      enableIPv6,
    );
    const warning = value === undefined ? undefined : key.warning?.(jsonValue(node));
    if (warning) problems.push({ severity: "warning", at: node.at, key: name, ...warning });
    return value;
  });
  const list = known.get("nonMasqueradeCIDRs");
  const entries = new Map([...known].map(([name, node]) => [name, itemsOf(node)]));
  return { config, entries, nullList: list && isNull(list) ? list.at : undefined, problems };
}

function itemsOf(node: Node): readonly Node[] {
  return node.kind === "list" ? node.items : [];
}

function problemOf(key: string, node: Node, issue: v.BaseIssue<unknown>): ConfigError {
  const indices = issue.path?.map(it => Number(it.key)) ?? [];
  const inner = indices.reduce<Node>((at, i) => itemsOf(at)[i] ?? at, node);
  const path = key + indices.map(i => `[${i}]`).join("");
  const [suspect] = inner.kind === "scalar" ? suspects(inner.text) : [];
  if (suspect) return errorAt(inner.at, `${describe(inner)} has ${suspect.what}`, suspect.remedy, path);
  const expected = EXPECTED[issue.type] ?? issue.expected;
  const what = failureOf(issue)?.what ?? `expected ${expected}, found ${describe(inner)}`;
  const meant = issue.type === "array" && inner.kind === "scalar" ? listRemedy(inner.text) : undefined;
  return errorAt(inner.at, what, meant ?? issue.message, path);
}

/** The remedy for a text with values, instead of a list of them. */
function listRemedy(text: string): string | undefined {
  if (/^\s*\[.*\]\s*$/s.test(text)) return "remove the quotes";
  const values = text.split(/[\s,;]+/).filter(it => it !== "");
  if (values.length > 0 && values.every(it => /^-[\w:!]/.test(it))) return 'write a space after each "-"';
  if (values.length === 0 || values.length > MOST_MEANT || !values.every(it => /^[\w.:/*!-]+$/.test(it)))
    return undefined;
  return `did you mean [${values.map(it => (/[:*!]/.test(it) ? `"${it}"` : it)).join(", ")}]?`;
}

const MOST_MEANT = 8;

/** The expected types in words, by the types in valibot's issues. */
const EXPECTED: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  integer: "a whole number",
  min_value: "a positive number",
  number: "a number",
  string: "a string",
};

function errorAt(at: Position, what: string, remedy: string, key?: string): ConfigError {
  return { severity: "error", at, ...(key === undefined ? {} : { key }), what, remedy };
}

/** The config of several files, and the problems of their combination. */
export interface Merged {
  readonly config: Config;
  readonly problems: readonly Problem[];
}

/** Merges documents key by key, in their order. */
export function mergeDocuments(documents: readonly ConfigDocument[]): Merged {
  const config = buildConfig((name, key) => {
    const values = documents.map(document => document.config[name]).filter(it => it !== undefined);
    return values.length === 0 ? undefined : values.reduce(key.merge);
  });
  const problems = [
    ...limitErrors(documents, config),
    ...combinationErrors(config, key => documents.some(({ entries }) => entries.has(key))),
    ...nullListWarnings(documents, config),
  ];
  return { config, problems };
}

/** The error if all files together have too many entries. */
export function sizeError(open: readonly OpenDocument[]): ConfigError | undefined {
  const elements = open.reduce((sum, it) => sum + it.elements, 0);
  if (elements <= MOST_ELEMENTS) return undefined;
  return tooManyElements({ file: open.find(it => it.elements > 0)?.file ?? "" }, `${elements}`);
}

/** An error for each list that has more entries than `cidrLimit`, counted in all files, as written. */
function limitErrors(documents: readonly ConfigDocument[], { cidrLimit }: Config): ConfigError[] {
  const limit = cidrLimit?.value ?? CIDR_LIMIT;
  const limited = KEY_NAMES.filter(name => KEYS[name].limited);
  return limited.flatMap((key): ConfigError[] => {
    const lists = documents.map(({ entries }) => entries.get(key) ?? []);
    const count = lists.reduce((sum, { length }) => sum + length, 0);
    const at = count > limit ? lists.flat()[limit]?.at : undefined;
    if (!at) return [];
    const what = `${count} entries exceed the cidrLimit of ${limit}`;
    const remedy = `set "cidrLimit: ${count}", or remove entries`;
    return [{ severity: "error", at, key, what, remedy }];
  });
}

const CIDR_LIMIT = 64;

/** Warns of a list without a value. Like an empty list it masquerades everything, but that is rarely intended. */
function nullListWarnings(documents: readonly ConfigDocument[], config: Config): ConfigWarning[] {
  if (config.nonMasqueradeCIDRs?.length !== 0) return [];
  return documents.flatMap(({ nullList: at }): ConfigWarning[] => {
    if (!at) return [];
    const key = "nonMasqueradeCIDRs";
    const what = "no value, so everything except link-local is masqueraded";
    const remedy = "list CIDRs, or write [] if this is intended";
    return [{ severity: "warning", name: "everything-masqueraded", at, key, what, remedy }];
  });
}
