import {
  Composer,
  type CST,
  type Document,
  type ErrorCode,
  isScalar,
  Lexer,
  type ParsedNode,
  Parser,
  type YAMLError,
} from "yaml";
import { Gate } from "./gate.ts";
import { indentationProblem } from "./indentation.ts";
import { suspects } from "./invisible.ts";
import type { Limits } from "./limits.ts";
import { lookalikeProblem } from "./lookalike.ts";
import type { ConfigError, Problem } from "./problem.ts";
import { templateProblem } from "./template.ts";
import type { Text } from "./text.ts";

/** A document as `yaml` composes it, of which all scalars are strings. */
export type YamlDocument = Document.Parsed<ParsedNode>;

/** What a parser made of a text. */
export interface Parsed {
  /** Without those that have nothing in them. */
  readonly documents: readonly YamlDocument[];
  readonly problems: readonly Problem[];
}

/** The documents of a YAML or JSON text; where it is no such text, or breaks a limit, what is wrong with it. */
export function parseYaml(text: Text, limits: Limits): Parsed {
  const breaches: Problem[] = [];
  // `uniqueKeys` takes quadratic time: the tree looks for keys that are given twice.
  const composer = new Composer({ schema: "failsafe", uniqueKeys: false, logLevel: "silent" });
  const documents = Array.from(composer.compose(tokens(text, limits, breaches)));
  if (breaches.length > 0) {
    const known = lookalikeProblem(text);
    return { documents: [], problems: known ? [known] : breaches };
  }
  const found = [composer.streamInfo(), ...documents];
  const errors = found.flatMap(({ errors }) => errors.map(error => ({ ...about(text, error), ...ERROR })));
  if (errors.length > 0) return { documents: [], problems: cause(text, errors[0]?.at.line) ?? errors };
  const warnings = found.flatMap(it => it.warnings.map(error => ({ ...about(text, error), ...WARNING })));
  return { documents: documents.filter(it => !isEmpty(it)), problems: warnings };
}

const ERROR = { severity: "error" } as const;
const WARNING = { severity: "warning", name: "yaml-warning" } as const;

function isEmpty({ contents }: YamlDocument): boolean {
  if (contents === null) return true;
  return isScalar(contents) && contents.source === "" && !contents.anchor && contents.type === "PLAIN";
}

/** The cause behind errors of the parser, in place of them. */
function cause(text: Text, line = 0): Problem[] | undefined {
  const template = templateProblem(text);
  if (template) return [template];
  const odd = suspects(text.content);
  if (odd.length > 0) {
    return odd.map(({ offset, what, remedy }) => ({ ...ERROR, at: text.at(offset), what, remedy }));
  }
  const tab = /^ *\t[ \t]*[^\s#]/m.exec(text.content);
  if (!tab) {
    const misfit = indentationProblem(text, line);
    return misfit && [misfit];
  }
  const at = text.at(tab.index + tab[0].indexOf("\t"));
  return [{ severity: "error", at, what: "a tab in the indentation", remedy: "indent with blanks" }];
}

function about(text: Text, { pos, code, message }: YAMLError): Omit<ConfigError, "severity"> {
  return {
    at: text.at(pos[0]),
    what: message.split("\n", 1).join(),
    remedy: REMEDIES[code] ?? "correct the YAML here",
  };
}

const REMEDIES: { readonly [code in ErrorCode]?: string } = {
  BAD_COLLECTION_TYPE: "indent all entries of a list or mapping alike",
  BAD_DQ_ESCAPE: "write the backslash twice, or use single quotes",
  BAD_INDENT: "indent what belongs together alike",
  BAD_SCALAR_START: "put the value in quotes",
  BLOCK_AS_IMPLICIT_KEY: "begin a new line, or put a value with a colon in quotes",
  MISSING_CHAR: "add it",
  MULTILINE_IMPLICIT_KEY: "write the key and its colon on one line",
  TAB_AS_INDENT: "put blanks in place of the tab",
};

/** Stops at the first lexeme that breaks a limit, and keeps what it breaks in `breaches`. */
function* tokens(text: Text, limits: Limits, breaches: Problem[]): Generator<CST.Token> {
  const gate = new Gate(text, limits);
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text.content)) {
    const breach = gate.check(lexeme);
    if (breach) {
      breaches.push(breach);
      return;
    }
    yield* parser.next(lexeme);
  }
  yield* parser.end();
}
