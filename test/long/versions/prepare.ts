/** Downloads nft and iptables of all suites. */
import { debianTools } from "../../debian/tools.ts";
import { MATRIX } from "./suites.ts";

for (const tools of await Promise.all(MATRIX.map(debianTools))) {
  if (!("missing" in tools)) continue;
  process.stderr.write(`${tools.missing}\n`);
  process.exitCode = 1;
}
