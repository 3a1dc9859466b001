import * as v from "valibot";

/** Why a text cannot be parsed, in words for the user. */
export interface ParseFailure {
  readonly what: string;
  readonly remedy: string;
}

export function isFailure<T extends object | number | boolean | string>(
  result: T | ParseFailure,
): result is ParseFailure {
  return typeof result === "object" && "what" in result;
}

/**
 * A valibot action that parses a text. The issue of a {@link ParseFailure} carries `remedy` as its message and `what` as
 * what was received; {@link failureOf} restores the failure.
 */
export function parsedBy<T extends object | number | boolean | string>(
  parse: (text: string) => T | ParseFailure,
) {
  return v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
    const result = parse(dataset.value);
    if (!isFailure(result)) return result;
    addIssue({ message: result.remedy, received: result.what });
    return NEVER;
  });
}

/** The failure behind an issue of {@link parsedBy}; undefined for other issues. */
export function failureOf({ type, message, received }: v.BaseIssue<unknown>): ParseFailure | undefined {
  return type === "raw_transform" ? { what: received, remedy: message } : undefined;
}

/** A user's text in quotes, cut to 60 characters, for messages. */
export function quote(text: string): string {
  return `"${shortened(text, LONGEST_QUOTED)}"`;
}

/** A text cut to a number of characters, for messages. */
export function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  const characters = Array.from(text.slice(0, 2 * most));
  return `${characters.slice(0, most - 1).join("")}…`;
}

const LONGEST_QUOTED = 60;
