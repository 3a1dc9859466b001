/** Builds the binaries and the image, and downloads the roots to run them in. Needs network access. */
import { $ } from "bun";
import { cosign } from "./cosign.ts";
import { CLEAN_SUITES, cleanSystem } from "./debootstrap.ts";
import { buildImages } from "./image.ts";
import { muslRoot } from "./musl.ts";
import { emulator, nodeRoot, PROCESSORS, ROOT_SUITES } from "./roots.ts";

await $`bun run build --all`;
for (const suite of ROOT_SUITES) report(await nodeRoot(suite));
report(await muslRoot());
report(await cosign());
for (const processor of PROCESSORS) report(await emulator(processor));
if (process.getuid?.() === 0) {
  await $`sh scripts/containers`;
  for (const suite of CLEAN_SUITES) report(await cleanSystem(suite));
  await buildImages();
}

function report(place: object): void {
  if ("missing" in place) process.stdout.write(`${place.missing}\n`);
}
