import { CST } from "yaml";
import { capError, type Limits, MOST_ENTRIES } from "./limits.ts";
import { Nesting } from "./nesting.ts";
import { type Problem, quote } from "./problem.ts";
import type { Text } from "./text.ts";

/**
 * Looks at each lexeme of a text before the parser sees it, for the parser needs 2 s and 830 MB for 200,000
 * opening brackets.
 */
export class Gate {
  #offset = 0;
  #lineStart = 0;
  #scalarFollows = false;
  #documents = 0;
  /** Lines "---" and "...". */
  #marks = 0;
  /** Where the document began that has nothing in it yet; undefined in one that has. */
  #empty: number | undefined = 0;
  #aliases = 0;
  #counted = 0;
  #values = 0;
  readonly #nesting = new Nesting();

  constructor(
    readonly text: Text,
    readonly limits: Limits,
  ) {}

  /** Takes the next lexeme that `yaml`'s `Lexer` yields. Returns why it must not reach the parser, if so. */
  check(lexeme: string): Problem | undefined {
    if (lexeme === CST.SCALAR) {
      this.#scalarFollows = true;
      return undefined;
    }
    const type = this.#scalarFollows ? "scalar" : CST.tokenType(lexeme);
    this.#scalarFollows = false;
    const breach = this.#count(type, lexeme) ?? this.#nest(type);
    if (lexeme !== CST.DOCUMENT && lexeme !== CST.FLOW_END) this.#advance(lexeme);
    return breach;
  }

  #advance(lexeme: string): void {
    const newline = lexeme.lastIndexOf("\n");
    if (newline >= 0) {
      this.#lineStart = this.#offset + newline + 1;
      this.#nesting.endLine();
    }
    this.#offset += lexeme.length;
  }

  #count(type: CST.TokenType | null, lexeme: string): Problem | undefined {
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
          ? this.#problem("more than one document", 'remove the line "---" and one of the documents', start)
          : this.#problem(`more than ${limits.documents} documents`, "give fewer of them", start);
      }
    }
    if (type === "tag") {
      const remedy = "put the word that begins with an exclamation mark in quotes, or remove it";
      return this.#problem(`a tag, ${quote(lexeme)}`, remedy);
    }
    if (type === "alias" && ++this.#aliases > MOST_ALIASES) {
      return this.#problem(`more than ${MOST_ALIASES} uses of aliases`, "write the values out");
    }
    if (lexeme.length > limits.scalar && (type === "scalar" || isQuoted(type))) {
      return this.#problem(`a value of more than ${limits.scalar / 1024} KiB`, "write a shorter one");
    }
    if ((type === "scalar" || isQuoted(type)) && ++this.#values > limits.values) {
      // Each CIDR has a slash.
      return capError(this.text.at(this.#offset), `about ${this.text.content.split("/").length - 1}`);
    }
    if (type !== "space" && type !== "doc-mode") this.#counted++;
    if (type === "double-quoted-scalar") this.#counted += lexeme.split("\\").length - 1;
    if (this.#counted <= limits.entries * LEXEMES_OF_ENTRY) return undefined;
    return this.#problem(
      `more than a config of ${limits.entries} entries needs`,
      limits.entries < MOST_ENTRIES
        ? 'state how many CIDRs a list may have, as in "cidrLimit: 100000", or remove what is not a config'
        : "remove entries",
    );
  }

  #nest(type: CST.TokenType | null): Problem | undefined {
    this.#nesting.add(type, this.#offset - this.#lineStart);
    if (this.#nesting.depth <= this.limits.depth) return undefined;
    return this.#problem(`nested deeper than ${this.limits.depth} levels`, "remove the inner levels");
  }

  #problem(what: string, remedy: string, offset = this.#offset): Problem {
    return { severity: "error", at: this.text.at(offset), what, remedy };
  }
}

const MOST_ALIASES = 100;

/** Empty documents do not count, but each costs the parser something. */
const MOST_EMPTY_DOCUMENTS = 20;

/** Lexemes that do not start a document. */
const BLANK: ReadonlySet<CST.TokenType | null> = new Set([
  "byte-order-mark",
  "comment",
  "directive-line",
  "doc-mode",
  "newline",
  "space",
]);

/** A dash or comma, the value, a comment, the end of the line. Blanks do not count: they come with others. */
const LEXEMES_OF_ENTRY = 4;

function isQuoted(type: CST.TokenType | null): boolean {
  return type === "single-quoted-scalar" || type === "double-quoted-scalar";
}
