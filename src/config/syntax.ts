import {
  Composer,
  type CST,
  type Document,
  type ErrorCode,
  Lexer,
  type ParsedNode,
  Parser,
  type YAMLError,
} from "yaml";
import { Gate } from "./gate.ts";
import type { Limits } from "./limits.ts";
import type { Problem } from "./problem.ts";
import type { Text } from "./text.ts";

/** A document as `yaml` composes it, of which all scalars are strings. */
export type YamlDocument = Document.Parsed<ParsedNode>;

/** The documents of a YAML or JSON text; where it is no such text, or breaks a limit, what is wrong with it. */
export function parseYaml(text: Text, limits: Limits): { documents: YamlDocument[]; problems: Problem[] } {
  const breaches: Problem[] = [];
  // `uniqueKeys` takes quadratic time: the tree looks for keys that are given twice.
  const composer = new Composer({ schema: "failsafe", uniqueKeys: false, logLevel: "silent" });
  const documents = Array.from(composer.compose(tokens(text, limits, breaches)));
  if (breaches.length > 0) return { documents: [], problems: breaches };
  const found = [composer.streamInfo(), ...documents];
  const errors = found.flatMap(({ errors }) => errors.map(error => problem("error", text, error)));
  const warnings = found.flatMap(({ warnings }) => warnings.map(error => problem("warning", text, error)));
  return { documents: errors.length > 0 ? [] : documents, problems: [...errors, ...warnings] };
}

function problem(severity: Problem["severity"], text: Text, { pos, code, message }: YAMLError): Problem {
  return {
    severity,
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
  TAB_AS_INDENT: "indent with blanks",
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
