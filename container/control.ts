import * as v from "valibot";

/** What a record of a Debian package says, as far as it is read here. */
const Control = v.object({
  Version: v.string(),
  Architecture: v.string(),
  /** The source package, if its name is another; a version may follow. */
  Source: v.optional(v.string()),
  Maintainer: v.string(),
});
export type Control = v.InferOutput<typeof Control>;

/** Reads one. Throws ValiError if something is missing. */
export function parseControl(text: string): Control {
  const fields = Array.from(text.matchAll(/^([\w-]+): *(.*)$/gm), ([, name, value]) => [name, value]);
  return v.parse(Control, Object.fromEntries(fields));
}
