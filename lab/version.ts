import { output } from "./output.ts";

/** The number in what `--version` says, as in `1.0.6`. */
export async function versionOf(program: string): Promise<string> {
  return /v(\d+(?:\.\d+)+)/.exec(await output([program, "--version"]))?.[1] ?? "unknown";
}
