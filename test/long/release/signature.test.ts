/** The signatures of a release, with cosign and a key: the release workflow signs with a certificate of its identity. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { appendFile, copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DIST } from "../../../lab/agent.ts";
import { run } from "../../../src/system/program.ts";
import { absent } from "../../programs.ts";
import { cosign } from "./cosign.ts";

const program = await cosign();
if (!Array.isArray(program)) absent(program.missing);
else {
  let folder: string;
  let sums: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ipmasq-"));
    sums = join(folder, "SHA256SUMS");
    await copyFile(join(DIST, "SHA256SUMS"), sums);
  });
  afterAll(() => rm(folder, { recursive: true }));

  const at = (name: string) => join(folder, name);
  const command = (...argv: string[]) =>
    run(["env", `HOME=${folder}`, "COSIGN_PASSWORD=", ...program, ...argv], { deadline: 30_000 });
  const verify = () =>
    command(
      "verify-blob",
      `--key=${at("cosign.pub")}`,
      `--bundle=${at("bundle.json")}`,
      "--insecure-ignore-tlog",
      sums,
    );

  test("cosign verifies what it signed, and refuses a changed file", async () => {
    expect(await command("generate-key-pair", `--output-key-prefix=${at("cosign")}`)).toMatchObject({
      exitCode: 0,
    });
    const key = `--key=${at("cosign.key")}`;
    const signed = command(
      "sign-blob",
      "--yes",
      key,
      `--bundle=${at("bundle.json")}`,
      "--tlog-upload=false",
      sums,
    );
    expect(await signed).toMatchObject({ exitCode: 0 });
    expect(await verify()).toMatchObject({ exitCode: 0 });
    await appendFile(sums, "0  another\n");
    expect((await verify()).exitCode).not.toBe(0);
  });
}
