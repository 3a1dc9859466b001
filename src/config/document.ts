import * as v from "valibot";
import { failureOf } from "../net/parse-failure.ts";
import { type Allowance, allowancesIn } from "./allowance.ts";
import type { Config, Located } from "./config.ts";
import { suspects, withoutSuspects } from "./invisible.ts";
import { meantKey } from "./key-meaning.ts";
import { configLimits, type Limits, statedCidrLimit } from "./limits.ts";
import { lookalikeProblem } from "./lookalike.ts";
import { type Entry, givenTwice, type Mapping, type Node } from "./node.ts";
import { readPlain } from "./plain.ts";
import { type Position, type Problem, quote } from "./problem.ts";
import { raisedInterval } from "./resync-interval.ts";
import { isNull, scalarValue } from "./scalar.ts";
import { configSchema } from "./schema.ts";
import { templateProblem } from "./template.ts";
import type { Text } from "./text.ts";

/** One text that holds a config, read. */
export interface ConfigDocument {
  /** What is right of it. */
  readonly config: Config;
  /** Where the entries of its lists stand, right or wrong, by the lists' keys. */
  readonly entries: ReadonlyMap<string, readonly Position[]>;
  /** Where `nonMasqueradeCIDRs` is a key without a value. */
  readonly nullList: Required<Position> | undefined;
  readonly problems: readonly Problem[];
  readonly allowances: readonly Allowance[];
}

/** A config whose keys are read, but not their values. */
export interface OpenDocument {
  readonly file: string;
  /** Whether its own key says so. */
  readonly enableIPv6: boolean;
  /** Entries of all its lists, written out where they are aliases. */
  readonly elements: number;
  /** @param enableIPv6 whether IPv6 CIDRs are allowed */
  read(enableIPv6: boolean): ConfigDocument;
}

/** Opens a YAML or JSON text as a config. */
export async function openConfigDocument(text: Text): Promise<OpenDocument> {
  const limits = configLimits(statedCidrLimit(text.content));
  const { root, problems } = await readTree(text, limits);
  const { allowances, problems: unknown } = allowancesIn(text);
  const reader = new Reader(text, [...problems, ...unknown]);
  if (root && !isNull(root)) reader.open(root);
  return {
    file: text.file,
    enableIPv6: reader.peek("enableIPv6") === true,
    elements: reader.elements,
    read: enableIPv6 => ({ ...readConfig(reader, enableIPv6), allowances }),
  };
}

function readConfig(reader: Reader, enableIPv6: boolean): Omit<ConfigDocument, "allowances"> {
  const { entries } = configSchema(enableIPv6);
  const config = {
    nonMasqueradeCIDRs: reader.list("nonMasqueradeCIDRs", entries.nonMasqueradeCIDRs),
    masqueradeCIDRs: reader.list("masqueradeCIDRs", entries.masqueradeCIDRs),
    sourceCIDRs: reader.list("sourceCIDRs", entries.sourceCIDRs),
    nonMasqueradeSourceCIDRs: reader.list("nonMasqueradeSourceCIDRs", entries.nonMasqueradeSourceCIDRs),
    outputInterfaces: reader.list("outputInterfaces", entries.outputInterfaces),
    masqLinkLocal: reader.value("masqLinkLocal", entries.masqLinkLocal),
    masqLinkLocalIPv6: reader.value("masqLinkLocalIPv6", entries.masqLinkLocalIPv6),
    enableIPv6: reader.value("enableIPv6", entries.enableIPv6),
    resyncInterval: reader.interval(entries.resyncInterval),
    cidrLimit: reader.value("cidrLimit", entries.cidrLimit),
  };
  const { entries: places, problems, nullList } = reader;
  return { config, entries: places, problems, nullList };
}

async function readTree(
  text: Text,
  limits: Limits,
): Promise<{ root?: Node | undefined; problems: readonly Problem[] }> {
  const plain = readPlain(text, limits);
  if (plain) return { root: plain, problems: [] };
  const template = templateProblem(text);
  if (template) return { problems: [template] };
  // The parser is loaded here, which takes 3 ms: most configs do not need it.
  const [{ parseYaml }, { buildTree }] = await Promise.all([import("./syntax.ts"), import("./tree.ts")]);
  const { documents, problems } = parseYaml(text, limits);
  const [document] = documents;
  if (!document) return { problems };
  const tree = buildTree(text, document);
  return { root: tree.root, problems: [...problems, ...tree.problems] };
}

const KEYS = Object.keys(configSchema(true).entries);

/** Tencent TKE's name for a key. */
const TKE_KEY = "nonMasqueradeSrcCIDRs";

/** The keys by their lower-case spelling. */
const SPELLINGS: ReadonlyMap<string, string> = new Map([
  ...KEYS.map(key => [key.toLowerCase(), key] as const),
  [TKE_KEY.toLowerCase(), "nonMasqueradeSourceCIDRs"],
]);

/** Takes the values of one mapping apart by its keys. */
class Reader {
  readonly problems: Problem[];
  readonly entries = new Map<string, readonly Position[]>();
  /** By the right spelling of their keys. */
  readonly #values = new Map<string, Node>();

  constructor(
    readonly text: Text,
    problems: readonly Problem[],
  ) {
    this.problems = [...problems];
  }

  open(root: Node): void {
    if (root.kind === "mapping") {
      const unknown = this.#find(root);
      if (unknown.length > 0 && this.#values.size === 0) this.#refuseAll(root, unknown);
      else this.#warnOf(unknown);
    } else {
      const known = lookalikeProblem(this.text);
      if (known) this.problems.push(known);
      else {
        const what = `expected keys with values, found ${describe(root)}`;
        this.#error(root.at, what, 'write as in "nonMasqueradeCIDRs: [10.0.0.0/8]"');
      }
    }
  }

  get elements(): number {
    return [...this.#values.values()].reduce(
      (sum, node) => sum + (node.kind === "list" ? node.items.length : 0),
      0,
    );
  }

  get nullList(): Required<Position> | undefined {
    const node = this.#values.get("nonMasqueradeCIDRs");
    return node && isNull(node) ? node.at : undefined;
  }

  /** The unchecked value of a key; undefined if the key is missing or its value is not a scalar. */
  peek(key: string): unknown {
    const node = this.#values.get(key);
    return node?.kind === "scalar" ? scalarValue(node) : undefined;
  }

  /** The value of a key; undefined if it is not there, `null`, or wrong. */
  value<T>(key: string, schema: v.GenericSchema<unknown, T>): Located<NonNullable<T>> | undefined {
    const node = this.#values.get(key);
    if (!node) return undefined;
    const value = this.#check(key, node, schema);
    return value === undefined || value === null ? undefined : { value, at: node.at };
  }

  /** The resync interval, with a warning if it is raised to the minimum. */
  interval(schema: v.GenericSchema<unknown, number | null | undefined>): Located<number> | undefined {
    const key = "resyncInterval";
    const interval = this.value(key, schema);
    const written = this.peek(key);
    if (!interval || typeof written !== "string") return interval;
    const raised = raisedInterval(written);
    if (raised) {
      this.problems.push({ severity: "warning", name: "interval-raised", at: interval.at, key, ...raised });
    }
    return interval;
  }

  /** The list of a key, one without entries for `null`; undefined if it is not there or anything in it is wrong. */
  list<T>(
    key: string,
    schema: v.GenericSchema<unknown, readonly T[] | null | undefined>,
  ): Located<T>[] | undefined {
    const node = this.#values.get(key);
    if (!node) return undefined;
    const nodes = node.kind === "list" ? node.items : [];
    const places = nodes.map(({ at }) => at);
    this.entries.set(key, places);
    const values = this.#check(key, node, schema);
    if (values === undefined) return undefined;
    return (values ?? []).map((value, i) => ({ value, at: places[i] ?? node.at }));
  }

  /**
   * Keeps the values of known keys, and returns the others. Go's JSON decoder, and so ip-masq-agent, does not mind
   * how capitals are used in keys. What a merge key brought gives way to what is written in the mapping itself.
   */
  #find({ entries }: Mapping): Entry[] {
    const spelt = new Map<string, Entry>();
    const unknown: Entry[] = [];
    const all = [...entries.values()];
    for (const entry of [...all.filter(it => !it.merged), ...all.filter(it => it.merged)]) {
      const { key, value } = entry;
      const right = SPELLINGS.get(key.text.toLowerCase());
      if (right === undefined) {
        if (!this.#refuseSuspect(entry)) unknown.push(entry);
        continue;
      }
      const first = spelt.get(right);
      if (first && entry.merged) continue;
      if (right !== key.text && key.text !== TKE_KEY) {
        this.problems.push({
          severity: "warning",
          name: "key-capitals",
          at: key.at,
          key: key.text,
          what: "the key has other capitals than usual",
          remedy: `write ${quote(right)}`,
        });
      }
      if (first) this.problems.push(givenTwice(key, first.key));
      else {
        spelt.set(right, entry);
        this.#values.set(right, value);
      }
    }
    return unknown;
  }

  /** Refuses a key that is known except for an invisible character: it would have no effect. */
  #refuseSuspect({ key }: Entry): boolean {
    const [suspect] = suspects(key.text);
    if (!suspect || !SPELLINGS.has(withoutSuspects(key.text).toLowerCase())) return false;
    this.#error(key.at, suspect.what, suspect.remedy, key.text);
    return true;
  }

  #warnOf(unknown: readonly Entry[]): void {
    for (const { key } of unknown) {
      const meant = meantKey(key.text, KEYS);
      this.problems.push({
        severity: "warning",
        name: "unknown-key",
        at: key.at,
        key: key.text,
        what: "not a known key",
        remedy: meant ? `did you mean ${quote(meant)}?` : `the keys are ${KEYS.join(", ")}`,
      });
    }
  }

  /** Reports a mapping without a single known key: read as a config it would mean the defaults. */
  #refuseAll(root: Mapping, unknown: readonly Entry[]): void {
    const wrapper = unknown.find(({ value }) => hasKnownKey(value));
    if (wrapper) {
      const { key, value } = wrapper;
      const inside = value.kind === "mapping" ? "inside of" : "a text inside of";
      const remedy = `remove the wrapper "${key.text}:", so that the keys of the config are the outermost`;
      this.#error(key.at, `the config is ${inside} ${quote(key.text)}`, remedy, key.text);
      return;
    }
    const known = lookalikeProblem(this.text);
    if (known) {
      this.problems.push(known);
      return;
    }
    const remedy = "write a config, or leave the file empty for the defaults";
    this.#error(root.at, "no known key, so this is not a config", remedy);
    this.#warnOf(unknown);
  }

  #check<T>(key: string, node: Node, schema: v.GenericSchema<unknown, T>): T | undefined {
    const result = v.safeParse(schema, plain(node));
    if (result.success) return result.output;
    for (const issue of result.issues) {
      const indices = issue.path?.map(it => Number(it.key)) ?? [];
      const inner = indices.reduce<Node>((at, i) => (at.kind === "list" ? (at.items[i] ?? at) : at), node);
      const path = key + indices.map(i => `[${i}]`).join("");
      const [suspect] = inner.kind === "scalar" ? suspects(inner.text) : [];
      if (suspect) {
        this.#error(inner.at, `${describe(inner)} has ${suspect.what}`, suspect.remedy, path);
        continue;
      }
      const what =
        failureOf(issue)?.what ??
        `expected ${EXPECTED[issue.type] ?? issue.expected}, found ${describe(inner)}`;
      const quoted = issue.type === "array" && inner.kind === "scalar" && /^\s*\[.*\]\s*$/s.test(inner.text);
      this.#error(inner.at, what, quoted ? "leave out the quotes" : issue.message, path);
    }
    return undefined;
  }

  #error(at: Position, what: string, remedy: string, key?: string): void {
    this.problems.push({ severity: "error", at, ...(key === undefined ? {} : { key }), what, remedy });
  }
}

/** Whether a value holds what could be a config, as keys or as a text. */
function hasKnownKey(value: Node): boolean {
  if (value.kind === "mapping")
    return [...value.entries.keys()].some(key => SPELLINGS.has(key.toLowerCase()));
  return value.kind === "scalar" && KNOWN_KEY.test(value.text);
}

/** Finds a known key at the beginning of a line. */
export const KNOWN_KEY = new RegExp(`^[ {"']*(?:${[...SPELLINGS.keys()].join("|")})["']?[ ]*:`, "im");

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
