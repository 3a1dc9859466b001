/** Downloads the versions of nft that the suite combines. */
import { debianTools } from "../../debian/tools.ts";
import { NEWER, OLD } from "./failures.ts";

for (const tools of await Promise.all([OLD, ...NEWER].map(debianTools))) {
  if (!("missing" in tools)) continue;
  process.stderr.write(`${tools.missing}\n`);
  process.exitCode = 1;
}
