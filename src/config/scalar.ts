import type { Node, Scalar } from "./node.ts";

/**
 * What a scalar means, as ip-masq-agent's parser reads it (ghodss/yaml on yaml.v2, YAML 1.1): only plain ones
 * can be other than text. Numbers are decimal here; others, of which no key has any use, are text.
 */
export function scalarValue({ text, style }: Scalar): null | boolean | number | string {
  if (style !== "plain") return text;
  if (NULLS.has(text)) return null;
  if (TRUES.has(text)) return true;
  if (FALSES.has(text)) return false;
  return NUMBER.test(text) ? Number(text) : text;
}

/** Whether a value is written as nothing: by no word at all, or as `null` or `~`. */
export function isNull(node: Node): boolean {
  return node.kind === "scalar" && scalarValue(node) === null;
}

const NULLS = new Set(["", "~", "null", "Null", "NULL"]);
const TRUES = new Set(spellings("y", "yes", "true", "on"));
const FALSES = new Set(spellings("n", "no", "false", "off"));
const NUMBER = /^[-+]?(0|[1-9]\d*)(\.\d*)?(e[-+]?\d+)?$/i;

function spellings(...words: string[]): string[] {
  return words.flatMap(word => [word, word.charAt(0).toUpperCase() + word.slice(1), word.toUpperCase()]);
}
