import type { ConfigError } from "./problem.ts";
import type { Text } from "./text.ts";

/** The error for an unrendered template: `{{` outside of comments. */
export function templateProblem(text: Text): ConfigError | undefined {
  const offset = templateStart(text);
  if (offset === undefined) return undefined;
  return {
    severity: "error",
    at: text.at(offset),
    what: 'an unrendered template, of Helm or the like: "{{"',
    remedy: 'render it first, as with "helm template"',
  };
}

function templateStart({ content }: Text): number | undefined {
  for (let at = content.indexOf("{{"); at >= 0; ) {
    if (!isComment(content.slice(content.lastIndexOf("\n", at) + 1, at))) return at;
    const end = content.indexOf("\n", at);
    if (end < 0) return undefined;
    at = content.indexOf("{{", end);
  }
  return undefined;
}

/** Whether the beginning of a line contains the start of a comment. */
export function isComment(before: string): boolean {
  return /(^|\s)#/.test(before);
}
