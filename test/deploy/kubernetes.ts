import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { messageOf } from "../../src/system/errors.ts";
import { unpackPackages } from "../debian/packages.ts";
import { loaderOf, type Missing } from "../debian/tools.ts";

/** A release of Kubernetes, as a Debian suite has it. */
export interface KubernetesRelease {
  /** As in `1.32`. */
  readonly version: string;
  /** The command line that kubectl's arguments follow. */
  readonly kubectl: readonly string[];
  /** The fields of every kind, with their types, as the API server of this release merges them: YAML. */
  readonly fields: string;
  /** The OpenAPI documents of API groups `v1` and `apps/v1`, as client-go keeps them for its tests: JSON. */
  readonly openapi: readonly string[];
}

/** The suites whose Kubernetes the manifests are checked with: the oldest and the newest that Debian has. */
export const KUBERNETES_SUITES = ["trixie", "forky"];

const CLIENT_GO = "usr/share/gocode/src/k8s.io/client-go";

/** Returns the release of a suite. It is downloaded once (24 MB, 4 s) and takes 100 MB. */
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
    return { missing: `Debian's Kubernetes of ${suite}: ${messageOf(error)}` };
  }
}
