/** The message of a thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The code of an error of the system or of a library, such as `ENOENT`; undefined if it has none. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? `${error.code}` : undefined;
}

/** An error and its remedy in the form of all messages: `what; remedy`. The remedy may be empty. */
export function withRemedy({ what, remedy }: { readonly what: string; readonly remedy: string }): string {
  return remedy === "" ? what : `${what}; ${remedy}`;
}
