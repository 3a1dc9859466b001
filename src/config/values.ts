import { quote } from "../net/parse-failure.ts";
import type { ConfigError, Position } from "./problem.ts";

/** A value of a document and its place. An alias and its anchor are the same object, placed at the anchor. */
export type Node = Scalar | List | Mapping;

export interface Scalar {
  readonly kind: "scalar";
  readonly at: Required<Position>;
  readonly text: string;
  readonly style: "plain" | "quoted" | "literal" | "folded";
}

interface List {
  readonly kind: "list";
  readonly at: Required<Position>;
  readonly items: readonly Node[];
}

export interface Mapping {
  readonly kind: "mapping";
  readonly at: Required<Position>;
  readonly entries: ReadonlyMap<string, Entry>;
}

export interface Entry {
  readonly key: Scalar;
  readonly value: Node;
  /** Whether the entry comes from a merge key. The mapping's own entries override it. */
  readonly merged?: boolean;
}

/** The error for a duplicate key. */
export function duplicateKey(key: Scalar, first: Scalar): ConfigError {
  const spelling = key.text === first.text ? "" : ` as ${quote(first.text)}`;
  return {
    severity: "error",
    at: key.at,
    key: key.text,
    what: `duplicate key, first${spelling} on line ${first.at.line}`,
    remedy: "remove one of them",
  };
}

/**
 * The value of a scalar as ip-masq-agent's parser reads it (ghodss/yaml on yaml.v2, YAML 1.1). Only plain scalars can
 * have types other than text. Only decimal numbers count as numbers, because no key needs other numbers.
 */
export function scalarValue({ text, style }: Scalar): null | boolean | number | string {
  if (style !== "plain") return text;
  if (text.length <= LONGEST_WORD) {
    if (NULLS.has(text)) return null;
    if (TRUES.has(text)) return true;
    if (FALSES.has(text)) return false;
  }
  return NUMBER.test(text) ? Number(text) : text;
}

/** Whether a value is empty, `null` or `~`. */
export function isNull(node: Node): boolean {
  return node.kind === "scalar" && scalarValue(node) === null;
}

const NULLS = new Set(["", "~", "null", "Null", "NULL"]);
const TRUES = new Set(spellings("y", "yes", "true", "on"));
const FALSES = new Set(spellings("n", "no", "false", "off"));
const LONGEST_WORD = "false".length;
const NUMBER = /^[-+]?(0|[1-9]\d*)(\.\d*)?(e[-+]?\d+)?$/i;

function spellings(...words: string[]): string[] {
  return words.flatMap(word => [word, word.charAt(0).toUpperCase() + word.slice(1), word.toUpperCase()]);
}

/** A value as plain JSON, for a schema. Values deeper than a list's items become `{}`: no key takes them. */
export function jsonValue(node: Node): unknown {
  if (node.kind === "mapping") return {};
  return node.kind === "list"
    ? node.items.map(item => (item.kind === "scalar" ? scalarValue(item) : {}))
    : scalarValue(node);
}

/** A value in words, for messages. */
export function describe(node: Node): string {
  if (node.kind !== "scalar") return node.kind === "list" ? "a list" : "a mapping";
  if (isNull(node)) return "nothing";
  return node.style === "plain" && typeof scalarValue(node) !== "string" ? node.text : quote(node.text);
}
