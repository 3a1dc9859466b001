import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { messageOf } from "../../src/system/errors.ts";
import { unpackPackages } from "../debian/packages.ts";
import { commandOf, type Missing } from "../debian/tools.ts";

/** Files of a Kubernetes release, from a Debian suite. */
export interface KubernetesRelease {
  /** For example `1.32`. */
  readonly version: string;
  /** The command of kubectl, without arguments. */
  readonly kubectl: readonly string[];
  /** The OpenAPI documents of API groups `v1` and `apps/v1`, from client-go's tests: JSON. */
  readonly openapi: readonly string[];
}

/** The Debian suites with the oldest and the newest Kubernetes. */
export const KUBERNETES_SUITES = ["trixie", "forky"];

const OPENAPI = "usr/share/gocode/src/k8s.io/client-go/openapi/openapitest/testdata";

/** Returns the release of a suite, which is downloaded once (24 MB, 4 s; 100 MB on disk). */
export async function kubernetesRelease(suite: string): Promise<KubernetesRelease | Missing> {
  try {
    const name = `kubernetes-${suite}`;
    const top = await unpackPackages(name, suite, ["kubectl"], undefined, {
      alone: ["golang-k8s-client-go-dev"],
    });
    const root = join(top, "root");
    const kubectl = await commandOf(root, "usr/bin/kubectl");
    const [, version = ""] = /v(\d+\.\d+)/.exec(await output([...kubectl, "version", "--client"])) ?? [];
    const openapi = ["api__v1", "apis__apps__v1"].map(it =>
      Bun.file(join(root, OPENAPI, `${it}_openapi.json`)).text(),
    );
    return { version, kubectl, openapi: await Promise.all(openapi) };
  } catch (error) {
    return { missing: `Kubernetes from Debian ${suite}: ${messageOf(error)}` };
  }
}
