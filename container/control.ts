import * as v from "valibot";

/** The fields of a Debian package's record that are needed here. */
const Control = v.object({
  Version: v.string(),
  Architecture: v.string(),
  /** The source package, if it has another name; a version can follow. */
  Source: v.optional(v.string()),
  Maintainer: v.string(),
});
export type Control = v.InferOutput<typeof Control>;

/** Parses a record. Throws ValiError if a field is missing. */
export function parseControl(text: string): Control {
  const fields = Array.from(text.matchAll(/^([\w-]+): *(.*)$/gm), ([, name, value]) => [name, value]);
  return v.parse(Control, Object.fromEntries(fields));
}
