/** A flag is a valibot schema, from the text on the command line to its value, with its help as metadata. */
import * as v from "valibot";
import { type ParseFailure, parsedBy } from "../net/parse-failure.ts";

/** The metadata of a flag. */
export interface FlagNote {
  /** The placeholder for the value in help; a switch has none. */
  readonly placeholder?: string;
  readonly help: string;
}

/** The text given for a flag, and its source: `--config` or `IPMASQ_CONFIG`. */
export interface FlagValue {
  readonly text: string;
  readonly by: string;
}

/** Flags by name, in the form of `v.object`. */
export type FlagTable = Readonly<Record<string, Flag<unknown>>>;

type Flag<T> = v.GenericSchema<string | undefined, T>;
type Value = object | number | boolean | string;
/** Parses the text of a flag. */
export type Parse<T> = (text: string) => T | ParseFailure;

export function noteOf(schema: Flag<unknown>): FlagNote {
  const { placeholder, help } = v.getMetadata(schema);
  return {
    help: typeof help === "string" ? help : "",
    ...(typeof placeholder === "string" ? { placeholder } : {}),
  };
}

/** The help of a flag, with its default unless that is empty or false. */
export function helpOf(schema: Flag<unknown>): string {
  const { help } = noteOf(schema);
  const defaultText = v.getDefault(schema);
  const isPlain = defaultText === undefined || defaultText === "" || defaultText === "false";
  return isPlain ? help : `${help} (default ${defaultText})`;
}

/** A flag with a value. Without a default, it is undefined if it is not given. */
export function flag<T extends Value>(
  placeholder: string,
  help: string,
  parse: Parse<T>,
  defaultText: string,
): Flag<T>;
export function flag<T extends Value>(
  placeholder: string,
  help: string,
  parse: Parse<T>,
): Flag<T | undefined>;
export function flag<T extends Value>(
  placeholder: string,
  help: string,
  parse: Parse<T>,
  defaultText?: string,
): Flag<T | undefined> {
  return schemaOf({ placeholder, help }, parse, defaultText);
}

/** A switch, which means true if it has no value. Without a default, it is undefined if it is not given. */
export function toggle(help: string, defaultText: "true" | "false"): Flag<boolean>;
export function toggle(help: string): Flag<boolean | undefined>;
export function toggle(help: string, defaultText?: "true" | "false"): Flag<boolean | undefined> {
  return schemaOf({ help }, parseBoolean, defaultText);
}

/** A flag whose value is one of a list. Without a default, it is undefined if it is not given. */
export function choice<const T extends string>(
  values: readonly T[],
  help: string,
  defaultText: NoInfer<T>,
): Flag<T>;
export function choice<const T extends string>(values: readonly T[], help: string): Flag<T | undefined>;
export function choice<const T extends string>(
  values: readonly T[],
  help: string,
  defaultText?: T,
): Flag<T | undefined> {
  const parse: Parse<T> = text =>
    values.find(it => it === text) ?? {
      what: `"${text}" is not a valid value`,
      remedy: `write ${anyOf(values)}`,
    };
  return schemaOf({ placeholder: values.join("|"), help }, parse, defaultText);
}

/** A flag whose value is any text. */
export function text(placeholder: string, help: string, defaultText: string): Flag<string> {
  return flag(placeholder, help, it => it, defaultText);
}

/** Accepts the same values as Go's strconv.ParseBool. */
function parseBoolean(text: string): boolean | ParseFailure {
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  return { what: `"${text}" is not a boolean`, remedy: "write true or false" };
}

/** A flag whose value has no effect. It is a switch if it has no placeholder. */
export function ignored(placeholder?: string): Flag<string | undefined> {
  const help = "ignored; accepted for klog compatibility";
  return schemaOf<string>({ help, ...(placeholder ? { placeholder } : {}) }, it => it);
}

function schemaOf<T extends Value>(
  note: FlagNote,
  parse: Parse<T>,
  defaultText?: string,
): Flag<T | undefined> {
  const given = v.pipe(v.string(), parsedBy(parse));
  return v.pipe(v.optional(given, defaultText), v.metadata({ ...note }));
}

/** The values as text: `a, b or c`. */
export function anyOf(values: readonly string[]): string {
  return values.join(", ").replace(/, (?=[^,]*$)/, " or ");
}
