import { printableLines } from "../system/printable.ts";

/** HTML, which is not escaped again. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = Html | string | number | readonly Part[];

/** Tag for HTML templates. Escapes values, including their control characters, unless they are {@link Html}. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(String.raw({ raw: strings }, ...parts.map(written)));
}

function written(part: Part): string {
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map(written).join("");
  return Bun.escapeHTML(printableLines(`${part}`));
}
