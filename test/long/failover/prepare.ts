/** Fetches the versions of nft that are tried beside one another. */
import { debianTools } from "../../debian/tools.ts";
import { NEWER, OLD } from "./failures.ts";

for (const tools of await Promise.all([OLD, ...NEWER].map(debianTools))) {
  if (!("missing" in tools)) continue;
  process.stderr.write(`${tools.missing}\n`);
  process.exitCode = 1;
}
