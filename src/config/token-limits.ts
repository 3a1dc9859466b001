import { CST } from "yaml";
import { quote } from "../net/parse-failure.ts";
import type { ConfigError } from "./problem.ts";
import { type Limits, MOST_ENTRIES, type Text, tooManyElements } from "./text.ts";

/**
 * Checks each token of a text against limits before the parser sees it. The parser needs 2 s and 830 MB for 200,000
 * opening brackets.
 */
export class TokenLimits {
  #offset = 0;
  #lineStart = 0;
  #scalarFollows = false;
  #documents = 0;
  /** The number of lines with "---" or "...". */
  #marks = 0;
  /** Start of the current document while it is empty; undefined afterwards. */
  #empty: number | undefined = 0;
  #aliases = 0;
  #tokens = 0;
  #values = 0;
  readonly #nesting = new Nesting();

  constructor(
    readonly text: Text,
    readonly limits: Limits,
  ) {}

  /** Takes the next token of `yaml`'s `Lexer`. Returns the error if it exceeds a limit. */
  check(token: string): ConfigError | undefined {
    if (token === CST.SCALAR) {
      this.#scalarFollows = true;
      return undefined;
    }
    const type = this.#scalarFollows ? "scalar" : CST.tokenType(token);
    this.#scalarFollows = false;
    const error = this.#count(type, token) ?? this.#nest(type);
    if (token !== CST.DOCUMENT && token !== CST.FLOW_END) this.#advance(token);
    return error;
  }

  #advance(token: string): void {
    const newline = token.lastIndexOf("\n");
    if (newline >= 0) {
      this.#lineStart = this.#offset + newline + 1;
      this.#nesting.endLine();
    }
    this.#offset += token.length;
  }

  #count(type: CST.TokenType | null, token: string): ConfigError | undefined {
    const { limits } = this;
    if (type === "doc-start" || type === "doc-end") {
      if (type === "doc-start" || this.#empty === undefined) this.#empty = this.#offset;
      if (++this.#marks > limits.documents + MOST_EMPTY_DOCUMENTS) {
        return this.#problem(`more than ${this.#marks - 1} lines "---" or "..."`, "remove them");
      }
    } else if (this.#empty !== undefined && !BLANK.has(type)) {
      const start = this.#empty;
      this.#empty = undefined;
      if (++this.#documents > limits.documents) {
        return limits.documents === 1
          ? this.#problem("more than one YAML document", 'remove one of them and its "---" line', start)
          : this.#problem(`more than ${limits.documents} documents`, "split the file", start);
      }
    }
    if (type === "tag") {
      const remedy = 'quote the word that starts with "!", or remove it';
      return this.#problem(`a YAML tag, ${quote(token)}`, remedy);
    }
    if (type === "alias" && ++this.#aliases > MOST_ALIASES) {
      return this.#problem(`more than ${MOST_ALIASES} uses of aliases`, "write out the values");
    }
    if (SCALARS.has(type) && ++this.#values > limits.values) {
      // Each CIDR has a slash.
      return tooManyElements(this.text.at(this.#offset), `about ${this.text.content.split("/").length - 1}`);
    }
    if (type !== "space" && type !== "doc-mode") this.#tokens++;
    if (this.#tokens <= limits.entries * TOKENS_OF_ENTRY) return undefined;
    return this.#problem(
      `more tokens than a config with ${limits.entries} entries needs`,
      limits.entries < MOST_ENTRIES
        ? 'raise the limit, for example with "cidrLimit: 100000", or remove entries'
        : "remove entries",
    );
  }

  #nest(type: CST.TokenType | null): ConfigError | undefined {
    this.#nesting.add(type, this.#offset - this.#lineStart);
    if (this.#nesting.depth <= this.limits.depth) return undefined;
    return this.#problem(`nested more than ${this.limits.depth} levels deep`, "remove levels");
  }

  #problem(what: string, remedy: string, offset = this.#offset): ConfigError {
    return { severity: "error", at: this.text.at(offset), what, remedy };
  }
}

const MOST_ALIASES = 100;

/** Empty documents do not count as documents, but each costs the parser some time. */
const MOST_EMPTY_DOCUMENTS = 20;

/** Tokens that do not start a document. */
const BLANK: ReadonlySet<CST.TokenType | null> = new Set([
  "byte-order-mark",
  "comment",
  "directive-line",
  "doc-mode",
  "newline",
  "space",
]);

/** A dash or comma, the value, a comment, and the end of the line. Spaces are not counted. */
const TOKENS_OF_ENTRY = 4;

const SCALARS: ReadonlySet<CST.TokenType | null> = new Set([
  "scalar",
  "single-quoted-scalar",
  "double-quoted-scalar",
]);

/** Estimates the depth of nested lists and mappings from single tokens. */
class Nesting {
  /** The open block lists and mappings, outermost first, with the columns of their entries. */
  readonly #blocks: { readonly kind: "list" | "mapping"; readonly column: number }[] = [];
  /** The number of colons since the last comma, for each open bracket. Each colon makes a mapping. */
  readonly #brackets: number[] = [];
  #colons = 0;
  /** Column of the first value after the last indicator on this line. */
  #valueColumn: number | undefined;

  get depth(): number {
    return this.#blocks.length + this.#brackets.length + this.#colons;
  }

  endLine(): void {
    this.#valueColumn = undefined;
  }

  add(type: CST.TokenType | null, column: number): void {
    switch (type) {
      case "doc-mode":
      case "doc-start":
      case "doc-end":
        this.#blocks.length = 0;
        this.#closeBrackets(0);
        return;
      case "flow-error-end":
        this.#closeBrackets(0);
        return;
      case "flow-map-start":
      case "flow-seq-start":
        this.#valueColumn ??= column;
        this.#brackets.push(0);
        return;
      case "flow-map-end":
      case "flow-seq-end":
        this.#closeBrackets(this.#brackets.length - 1);
        return;
      case "comma":
        this.#setColons(0);
        return;
      case "seq-item-ind":
        this.#openBlock("list", column);
        return;
      case "explicit-key-ind":
        this.#openBlock("mapping", column);
        return;
      case "map-value-ind":
        if (this.#brackets.length > 0) this.#setColons((this.#brackets.at(-1) ?? 0) + 1);
        else this.#openBlock("mapping", this.#valueColumn ?? column);
        return;
      case "space":
      case "comment":
      case "newline":
        return;
      default:
        this.#valueColumn ??= column;
    }
  }

  #openBlock(kind: "list" | "mapping", column: number): void {
    if (this.#brackets.length > 0) return;
    this.#valueColumn = undefined;
    let inner = this.#blocks.at(-1);
    // A list may start in the column of the mapping that contains it.
    while (
      inner &&
      (inner.column > column || (inner.column === column && inner.kind === "list" && kind === "mapping"))
    ) {
      this.#blocks.pop();
      inner = this.#blocks.at(-1);
    }
    if (!inner || inner.column < column || inner.kind !== kind) this.#blocks.push({ kind, column });
  }

  #setColons(count: number): void {
    const last = this.#brackets.pop();
    if (last === undefined) return;
    this.#brackets.push(count);
    this.#colons += count - last;
  }

  #closeBrackets(left: number): void {
    while (this.#brackets.length > Math.max(left, 0)) this.#colons -= this.#brackets.pop() ?? 0;
  }
}
