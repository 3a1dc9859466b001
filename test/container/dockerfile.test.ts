import { expect, test } from "bun:test";
import { join } from "node:path";
import { version } from "../../package.json";

test("the image is labelled with the version in package.json", async () => {
  const dockerfile = await Bun.file(join(import.meta.dir, "../../container/Dockerfile")).text();
  expect(/^ARG VERSION=(.*)$/m.exec(dockerfile)?.[1]).toBe(version);
});
