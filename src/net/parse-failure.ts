import * as v from "valibot";

/** Why a text is not what it should be, for a person: what is wrong, then what to do. */
export interface ParseFailure {
  readonly what: string;
  readonly remedy: string;
}

/**
 * An action that turns text into what `parse` makes of it. The issue of a fault has the remedy as its message,
 * and what is wrong as what was received: {@link failureOf} puts them together again.
 */
export function parsedBy<T extends object | number | boolean | string>(
  parse: (text: string) => T | ParseFailure,
) {
  return v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
    const result = parse(dataset.value);
    if (typeof result !== "object" || !("what" in result)) return result;
    addIssue({ message: result.remedy, received: result.what });
    return NEVER;
  });
}

/** The fault that an issue carries; undefined if no {@link parsedBy} made it. */
export function failureOf({ type, message, received }: v.BaseIssue<unknown>): ParseFailure | undefined {
  return type === "raw_transform" ? { what: received, remedy: message } : undefined;
}
