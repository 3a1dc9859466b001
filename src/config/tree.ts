import { isAlias, isMap, isSeq, type ParsedNode, Scalar as YamlScalar } from "yaml";
import { type Entry, givenTwice, type Mapping, type Node, type Scalar } from "./node.ts";
import { type Position, type Problem, quote } from "./problem.ts";
import type { YamlDocument } from "./syntax.ts";
import type { Text } from "./text.ts";

/**
 * The values of a document with their places, aliases resolved. What is wrong is left out of the tree: aliases
 * without an anchor, that contain themselves or are used more than 100 times, counted as if they were
 * written out; keys that are given twice or are no scalars. The merge key `<<` takes in a mapping, or a list of them of
 * which the first ones win, as Go's YAML reads it.
 */
export function buildTree(
  text: Text,
  document: YamlDocument,
): { root: Node | undefined; problems: Problem[] } {
  const builder = new TreeBuilder(text);
  const root = document.contents ? builder.build(document.contents) : undefined;
  return { root, problems: builder.problems };
}

const MOST_ALIASES = 100;

const MERGE = "<<";

class TreeBuilder {
  readonly problems: Problem[] = [];
  /** By anchor: the finished value and how many aliases it uses; undefined while it is being built. */
  readonly #anchors = new Map<string, { readonly node: Node; readonly aliases: number } | undefined>();
  /** How many uses of aliases the tree has so far. */
  #aliases = 0;

  constructor(readonly text: Text) {}

  build(source: ParsedNode): Node | undefined {
    const at = this.text.at(source.range[0]);
    if (isAlias(source)) return this.#follow(source.source, at);
    if (source.anchor === undefined) return this.#buildValue(source, at);
    const before = this.#aliases;
    this.#anchors.set(source.anchor, undefined);
    const node = this.#buildValue(source, at);
    if (node) this.#anchors.set(source.anchor, { node, aliases: this.#aliases - before });
    return node;
  }

  #buildValue(source: Exclude<ParsedNode, { anchor?: never }>, at: Required<Position>): Node {
    if (isMap(source)) return { kind: "mapping", at, entries: this.#buildEntries(source.items) };
    if (!isSeq(source)) return { kind: "scalar", at, text: source.source, style: styleOf(source.type) };
    const items: Node[] = [];
    for (const item of source.items) {
      const node = this.build(item);
      if (node) items.push(node);
    }
    return { kind: "list", at, items };
  }

  #buildEntries(pairs: readonly { key: ParsedNode; value: ParsedNode | null }[]): Mapping["entries"] {
    const entries: Map<string, Entry> = new Map();
    const merged: Node[] = [];
    for (const pair of pairs) {
      const key = this.#buildKey(pair.key);
      if (key?.text === MERGE && key.style === "plain") {
        const value = pair.value ? this.build(pair.value) : key;
        if (value) merged.unshift(value);
        continue;
      }
      const value = pair.value
        ? this.build(pair.value)
        : key && { ...key, text: "", style: "plain" as const };
      if (!key || !value) continue;
      const first = entries.get(key.text);
      if (first) this.problems.push(givenTwice(key, first.key));
      else entries.set(key.text, { key, value });
    }
    for (const value of merged) this.#merge(value, entries);
    return entries;
  }

  #merge(value: Node, into: Map<string, Entry>): void {
    for (const source of value.kind === "list" ? value.items : [value]) {
      if (source.kind !== "mapping") {
        const what = `the merge key "${MERGE}" with something else than a mapping`;
        this.#refuse(source.at, what, 'give it the alias of a mapping, as in "<<: *base"');
        return;
      }
      for (const [name, entry] of source.entries) {
        if (!into.has(name)) into.set(name, { ...entry, merged: true });
      }
    }
  }

  #buildKey(source: ParsedNode): Scalar | undefined {
    const key = isAlias(source) ? undefined : this.build(source);
    const at = this.text.at(source.range[0]);
    if (key?.kind !== "scalar") {
      this.#refuse(at, "a key that is not text", "write the key as a plain word");
      return undefined;
    }
    return key;
  }

  #follow(name: string, at: Required<Position>): Node | undefined {
    const anchored = this.#anchors.get(name);
    if (!anchored) {
      if (this.#anchors.has(name)) {
        this.#refuse(at, `the alias ${quote(`*${name}`)} contains itself`, "write the value out");
      } else {
        const remedy = `set the anchor "&${name}" in front of a value before it`;
        this.#refuse(at, `the alias ${quote(`*${name}`)} has no anchor`, remedy);
      }
      return undefined;
    }
    const before = this.#aliases;
    this.#aliases += 1 + anchored.aliases;
    if (this.#aliases <= MOST_ALIASES) return anchored.node;
    if (before <= MOST_ALIASES) {
      this.#refuse(at, `more than ${MOST_ALIASES} uses of aliases`, "write the values out");
    }
    return undefined;
  }

  #refuse(at: Required<Position>, what: string, remedy: string): void {
    this.problems.push({ severity: "error", at, what, remedy });
  }
}

function styleOf(type: YamlScalar.Type | undefined): Scalar["style"] {
  switch (type) {
    case YamlScalar.PLAIN:
      return "plain";
    case YamlScalar.BLOCK_LITERAL:
      return "literal";
    case YamlScalar.BLOCK_FOLDED:
      return "folded";
    default:
      return "quoted";
  }
}
