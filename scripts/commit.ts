import { $ } from "bun";

/**
 * The commit that is built, abbreviated to 12 digits, with `-dirty` if files are changed: from the environment variable
 * COMMIT, or from git; otherwise `unknown`.
 */
export const commit: string =
  process.env.COMMIT?.replace(/^([0-9a-f]{12})[0-9a-f]*/, "$1") ||
  (await $`git describe --always --dirty --abbrev=12 --exclude=${"*"}`.nothrow().quiet().text()).trim() ||
  "unknown";
