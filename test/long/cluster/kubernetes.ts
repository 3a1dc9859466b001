import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../../lab/output.ts";
import { cached } from "../../../scripts/cache.ts";
import { downloadPackages } from "../../debian/apt.ts";
import { suiteChroot } from "../../debian/chroot.ts";
import { finished } from "../release/debootstrap.ts";

const PROGRAMS = ["kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];

/** Debian's last release whose source package of Kubernetes has the sources of all programs, and their dependencies. */
const SUITE = "bookworm";
const VERSION = "1.20.2";
const COMPILER = "1.19";

/** The programs of a Kubernetes release. */
export interface Kubernetes {
  /** The folder of the programs. */
  readonly folder: string;
  /** Such as `1.20.2`. */
  readonly version: string;
  /** The minor version, such as 20. */
  readonly minor: number;
}

/** The programs in the folder that the environment variable KUBERNETES_BIN names, otherwise those of Debian's sources. */
export async function kubernetes(): Promise<Kubernetes> {
  const folder = process.env.KUBERNETES_BIN ?? (await builtKubernetes());
  const missing = PROGRAMS.filter(name => !existsSync(join(folder, name)));
  if (missing.length > 0) throw new Error(`KUBERNETES_BIN, ${folder}, has no ${missing.join(", ")}`);
  const printed = await output([join(folder, "kubelet"), "--version"]);
  const [, version = "", minor] = /v(\d+\.(\d+)\.\d+)/.exec(printed) ?? [];
  return { folder, version, minor: Number(minor) };
}

/** Returns the root of a node whose containerd fits a release of Kubernetes; it is downloaded once (330 MB on disk). */
export async function nodeRoot({
  minor,
}: Kubernetes): Promise<{ readonly root: string; readonly suite: string }> {
  // The API that kubelet 1.20 speaks to containerd ended with containerd 2.
  const suite = minor < 26 ? "bookworm" : "forky";
  const node = await suiteChroot(`node-${suite}`, suite, NODE_PACKAGES);
  if ("missing" in node) throw new Error(node.missing);
  return { root: node.root, suite };
}

const NODE_PACKAGES = [
  ...["containerd", "runc", "containernetworking-plugins", "etcd-server", "catatonit"],
  ...["iproute2", "iptables", "nftables", "conntrack", "mount", "util-linux", "dash", "coreutils"],
];

/** Builds Kubernetes from Debian's source package, once (36 MB to download; 6 minutes on 2 cores; 300 MB). */
function builtKubernetes(): Promise<string> {
  return cached(`kubernetes-${VERSION}`, async folder => {
    const work = join(folder, "work");
    await mkdir(work);
    const compiler = [`golang-${COMPILER}-go`, `golang-${COMPILER}-src`];
    const archives = await downloadPackages(SUITE, [], work, { alone: compiler, sources: ["kubernetes"] });
    for await (const archive of new Bun.Glob("*.deb").scan({ cwd: archives, absolute: true }))
      await output(["dpkg", "--extract", archive, join(work, "compiler")]);
    const [source = ""] = await Array.fromAsync(
      new Bun.Glob("kubernetes_*.orig.tar.gz").scan({ cwd: archives, absolute: true }),
    );
    await finished(["sh", "-euc", BUILD, work, source, VERSION, COMPILER, ...PROGRAMS]);
    for (const name of PROGRAMS) await rename(join(work, "bin", name), join(folder, name));
    await output(["chmod", "-R", "u+w", work]);
    await rm(work, { recursive: true });
  });
}

/** The package lacks a generated file, with the OpenAPI definitions of all types. */
const BUILD = `
  work=$0 source=$1 version=$2 compiler=$3
  shift 3
  export GOROOT="$work/compiler/usr/lib/go-$compiler" GOPATH="$work/go" GOCACHE="$work/objects"
  export GO111MODULE=off CGO_ENABLED=0 GOFLAGS= PATH="$GOROOT/bin:$PATH"
  tree=$GOPATH/src/k8s.io/kubernetes
  mkdir -p "$tree" "$work/bin"
  tar --extract --file="$source" --directory="$tree" --strip-components=1
  cd "$tree"
  go build -o "$work/bin/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
  packages=$(grep --recursive --files-with-matches --include='*.go' --exclude='*_test.go' '+k8s:openapi-gen=' \\
    pkg vendor/k8s.io/*/ | xargs --max-args=1 dirname | sort --unique | sed 's#^#k8s.io/kubernetes/#' |
    grep --invert-match --extended-regexp '/testdata|/sample-|/examples|/code-generator|/kube-openapi' | paste -sd,)
  "$work/bin/openapi-gen" --input-dirs="$packages" --output-package=k8s.io/kubernetes/pkg/generated/openapi \\
    --output-file-base=zz_generated.openapi --go-header-file=hack/boilerplate/boilerplate.generatego.txt \\
    --output-base="$GOPATH/src" --report-filename="$work/violations"
  flags="-s -w"
  for package in component-base/version client-go/pkg/version; do
    for value in gitVersion=v$version gitMajor=1 gitMinor=$(echo "$version" | cut -d. -f2) gitTreeState=clean; do
      flags="$flags -X k8s.io/kubernetes/vendor/k8s.io/$package.$value"
    done
  done
  for program; do go build -ldflags="$flags" -o "$work/bin/$program" "k8s.io/kubernetes/cmd/$program"; done
`;
