/** What the tests of a release have to get where there is a network: the binaries, and where to run them. */
import { $ } from "bun";
import { muslRoot } from "../../../lab/musl.ts";
import { emulator, nodeRoot, PROCESSORS, ROOT_SUITES } from "../../../lab/roots.ts";

await $`bun run build --all`;
for (const suite of ROOT_SUITES) report(await nodeRoot(suite));
report(await muslRoot());
for (const processor of PROCESSORS) report(await emulator(processor));

function report(place: object): void {
  if ("missing" in place) process.stdout.write(`${place.missing}\n`);
}
