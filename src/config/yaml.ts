import {
  Composer,
  type CST,
  type Document,
  type ErrorCode,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  type ParsedNode,
  Parser,
  type YAMLError,
  Scalar as YamlScalar,
} from "yaml";
import { quote, shortened } from "../net/parse-failure.ts";
import { causeOf, lookalikeProblem } from "./accidents.ts";
import type { ConfigError, Position, Problem } from "./problem.ts";
import type { Limits, Text } from "./text.ts";
import { TokenLimits } from "./token-limits.ts";
import { duplicateKey, type Entry, type Mapping, type Node, type Scalar } from "./values.ts";

type YamlDocument = Document.Parsed<ParsedNode>;

/** The documents of a text, without empty documents, and their problems. */
export interface Parsed {
  readonly roots: readonly Node[];
  readonly problems: readonly Problem[];
}

/**
 * Parses YAML or JSON into values with places. A text with a syntax error, or beyond a limit, has no roots. The tree
 * leaves out invalid parts: aliases that have no anchor, contain themselves, or are used more than 100 times when
 * expanded; duplicate keys, and keys that are not scalars. The merge key `<<` takes a mapping, or a list of mappings
 * where the first mapping wins, as in Go's YAML.
 */
export function parseYaml(text: Text, limits: Limits): Parsed {
  const exceeded: Problem[] = [];
  // `uniqueKeys` takes quadratic time; the tree finds duplicate keys.
  const composer = new Composer({ schema: "failsafe", uniqueKeys: false, logLevel: "silent" });
  const documents = Array.from(composer.compose(tokens(text, limits, exceeded)));
  if (exceeded.length > 0) {
    const lookalike = lookalikeProblem(text);
    return { roots: [], problems: lookalike ? [lookalike] : exceeded };
  }
  const found = [composer.streamInfo(), ...documents];
  const errors = found.flatMap(({ errors }) => errors.map(error => ({ ...about(text, error), ...ERROR })));
  if (errors.length > 0) {
    const code = found.find(({ errors: some }) => some.length > 0)?.errors[0]?.code;
    return { roots: [], problems: causeOf(text, errors[0]?.at.line, code) ?? errors };
  }
  const warnings = found.flatMap(it => it.warnings.map(error => ({ ...about(text, error), ...WARNING })));
  const trees = documents.filter(it => !isEmpty(it)).map(document => buildTree(text, document));
  return {
    roots: trees.flatMap(({ root }) => root ?? []),
    problems: [...warnings, ...trees.flatMap(tree => tree.problems)],
  };
}

const ERROR = { severity: "error" } as const;
const WARNING = { severity: "warning", name: "yaml-warning" } as const;

/** Yields tokens up to the first token that exceeds a limit, and adds that error to `exceeded`. */
function* tokens(text: Text, limits: Limits, exceeded: Problem[]): Generator<CST.Token> {
  const tokenLimits = new TokenLimits(text, limits);
  const parser = new Parser();
  for (const token of new Lexer().lex(text.content)) {
    const error = tokenLimits.check(token);
    if (error) {
      exceeded.push(error);
      return;
    }
    yield* parser.next(token);
  }
  yield* parser.end();
}

function isEmpty({ contents }: YamlDocument): boolean {
  if (contents === null) return true;
  return isScalar(contents) && contents.source === "" && !contents.anchor && contents.type === "PLAIN";
}

/** An error or a warning of the parser, with its place and a remedy. */
function about(text: Text, { pos, code, message }: YAMLError): Omit<ConfigError, "severity"> {
  return {
    at: text.at(pos[0]),
    what: WORDS[code] ?? shortened(message.split("\n", 1).join(), LONGEST_MESSAGE),
    remedy: REMEDIES[code] ?? "correct the YAML here",
  };
}

/** In characters. Some messages of the parser quote the rest of the file. */
const LONGEST_MESSAGE = 150;

/** Instead of the parser's words, which name rules of YAML's grammar. */
const WORDS: { readonly [code in ErrorCode]?: string } = {
  MULTILINE_IMPLICIT_KEY: "a key follows inside this value, because it is indented further",
};

const REMEDIES: { readonly [code in ErrorCode]?: string } = {
  BAD_COLLECTION_TYPE: "give all entries of a list or mapping the same indentation",
  BAD_DQ_ESCAPE: "double the backslash, or use single quotes",
  BAD_INDENT: "give lines of the same level the same indentation",
  BAD_SCALAR_START: "quote the value",
  BLOCK_AS_IMPLICIT_KEY: "start a new line, or quote a value with a colon",
  MISSING_CHAR: "add it",
  MULTILINE_IMPLICIT_KEY: "start all keys in the same column",
  TAB_AS_INDENT: "replace the tab with spaces",
};

function buildTree(text: Text, document: YamlDocument): { root: Node | undefined; problems: Problem[] } {
  const builder = new TreeBuilder(text);
  const root = document.contents ? builder.build(document.contents) : undefined;
  return { root, problems: builder.problems };
}

const MOST_ALIASES = 100;

const MERGE = "<<";

class TreeBuilder {
  readonly problems: Problem[] = [];
  /** The value and the number of aliases in it, by anchor; undefined while the value is being built. */
  readonly #anchors = new Map<string, { readonly node: Node; readonly aliases: number } | undefined>();
  /** Aliases used so far. */
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
      if (first) this.problems.push(duplicateKey(key, first.key));
      else entries.set(key.text, { key, value });
    }
    for (const value of merged) this.#merge(value, entries);
    return entries;
  }

  #merge(value: Node, into: Map<string, Entry>): void {
    for (const source of value.kind === "list" ? value.items : [value]) {
      if (source.kind !== "mapping") {
        const what = `the merge key "${MERGE}" without a mapping`;
        this.#refuse(source.at, what, 'give it an alias of a mapping, for example "<<: *base"');
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
      this.#refuse(at, "a key that is not a string", "write the key as a plain word");
      return undefined;
    }
    return key;
  }

  #follow(name: string, at: Required<Position>): Node | undefined {
    const anchored = this.#anchors.get(name);
    if (!anchored) {
      if (this.#anchors.has(name)) {
        this.#refuse(at, `the alias ${quote(`*${name}`)} contains itself`, "write out the value");
      } else {
        const remedy = `define "&${name}" on an earlier value`;
        this.#refuse(at, `the alias ${quote(`*${name}`)} has no anchor`, remedy);
      }
      return undefined;
    }
    const before = this.#aliases;
    this.#aliases += 1 + anchored.aliases;
    if (this.#aliases <= MOST_ALIASES) return anchored.node;
    if (before <= MOST_ALIASES) {
      this.#refuse(at, `more than ${MOST_ALIASES} uses of aliases`, "write out the values");
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
