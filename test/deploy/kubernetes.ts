import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { messageOf } from "../../src/system/errors.ts";
import { unpackPackages } from "../debian/packages.ts";
import { loaderOf, type Missing } from "../debian/tools.ts";

/** Files of a Kubernetes release, from a Debian suite. */
export interface KubernetesRelease {
  /** For example `1.32`. */
  readonly version: string;
  /** The command of kubectl, without arguments. */
  readonly kubectl: readonly string[];
  /** The fields of every kind with their types, which server-side apply uses: YAML. */
  readonly fields: string;
  /** The OpenAPI documents of API groups `v1` and `apps/v1`, from client-go's tests: JSON. */
  readonly openapi: readonly string[];
}

/** The Debian suites with the oldest and the newest Kubernetes. */
export const KUBERNETES_SUITES = ["trixie", "forky"];

const CLIENT_GO = "usr/share/gocode/src/k8s.io/client-go";

/** Returns the release of a suite, which is downloaded once (24 MB, 4 s; 100 MB on disk). */
export async function kubernetesRelease(suite: string): Promise<KubernetesRelease | Missing> {
  try {
    const name = `kubernetes-${suite}`;
    const top = await unpackPackages(name, suite, ["kubectl"], undefined, {
      alone: ["golang-k8s-client-go-dev"],
    });
    const root = join(top, "root");
    const { loader, libraries } = await loaderOf(root);
    const kubectl = [loader, "--library-path", libraries, join(root, "usr/bin/kubectl")];
    const [, version = ""] = /v(\d+\.\d+)/.exec(await output([...kubectl, "version", "--client"])) ?? [];
    const text = (path: string) => Bun.file(join(root, CLIENT_GO, path)).text();
    const go = await text("applyconfigurations/internal/internal.go");
    const [, fields = ""] = /YAMLObject\(`(.*?)`\)/s.exec(go) ?? [];
    const openapi = ["api__v1", "apis__apps__v1"].map(it =>
      text(`openapi/openapitest/testdata/${it}_openapi.json`),
    );
    return { version, kubectl, fields, openapi: await Promise.all(openapi) };
  } catch (error) {
    return { missing: `Kubernetes from Debian ${suite}: ${messageOf(error)}` };
  }
}
