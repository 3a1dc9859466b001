import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { parseControl } from "../../../container/control.ts";
import { DIST } from "../../../lab/agent.ts";
import { output } from "../../../lab/output.ts";
import { version } from "../../../package.json";
import { absent } from "../../programs.ts";
import {
  ARCHITECTURE,
  ARCHITECTURES,
  type Architecture,
  BASE,
  BASE_DIGEST,
  builtImage,
  IMAGE,
  SOURCE,
} from "./image.ts";
import { Podman } from "./podman.ts";
import { emulator } from "./roots.ts";

const BINARIES: Record<Architecture, string> = { amd64: "ipmasq-linux-x64", arm64: "ipmasq-linux-arm64" };
/** Timeout of a test and its preparation on a busy machine. */
const LIMIT_MS = 60_000;
setDefaultTimeout(LIMIT_MS);

const TOOLS = [
  "usr/sbin/conntrack",
  "usr/sbin/nft",
  "usr/sbin/xtables-legacy-multi",
  "usr/sbin/xtables-nft-multi",
];

const Inspected = v.tuple([
  v.looseObject({
    Architecture: v.string(),
    User: v.string(),
    Labels: v.record(v.string(), v.string()),
    Config: v.looseObject({ Entrypoint: v.array(v.string()) }),
  }),
]);
const Bom = v.looseObject({
  bomFormat: v.literal("CycloneDX"),
  components: v.array(v.looseObject({ name: v.string(), version: v.string(), purl: v.string() })),
});

for (const architecture of ARCHITECTURES) {
  const archive = builtImage(architecture);
  if (typeof archive !== "string") absent(archive.missing);
  else describe(`the image for ${architecture}`, () => contents(architecture, archive));
}

function contents(architecture: Architecture, archive: string): void {
  let folder: string;
  let root: string;
  let about: v.InferOutput<typeof Inspected>[0];
  let files: string[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ipmasq-image-"));
    root = join(folder, "root");
    await mkdir(root);
    await using podman = await Podman.create(archive);
    [about] = v.parse(Inspected, JSON.parse(await podman.output(["image", "inspect", IMAGE])));
    await podman.unpack(IMAGE, root);
    // The container runtime creates these.
    for (const path of ["run/.containerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"])
      await rm(join(root, path), { force: true });
    files = (await output(["find", root, "-type", "f", "-printf", "%P\n"])).trim().split("\n").sort();
  }, LIMIT_MS);
  afterAll(() => rm(folder, { recursive: true }), LIMIT_MS);

  const read = (path: string) => readFile(join(root, path), "utf8");
  const packages = async () =>
    (await readdir(join(root, "var/lib/dpkg/status.d"))).filter(it => !it.endsWith(".md5sums")).sort();

  test("has the expected labels and entrypoint", async () => {
    expect(about).toMatchObject({
      Architecture: architecture,
      User: "0:0",
      Config: { Entrypoint: ["/usr/bin/ipmasq"] },
    });
    const revision = /commit ([^,]+),/.exec(
      await output([join(DIST, `ipmasq-linux-${process.arch}`), "version"]),
    )?.[1];
    expect(about.Labels).toMatchObject({
      "org.opencontainers.image.title": "ipmasq",
      "org.opencontainers.image.version": version,
      "org.opencontainers.image.revision": revision,
      "org.opencontainers.image.licenses": "Apache-2.0",
      "org.opencontainers.image.source": SOURCE,
      "org.opencontainers.image.url": SOURCE,
      "org.opencontainers.image.documentation": `${SOURCE}/blob/${revision}/docs/install.md`,
      "org.opencontainers.image.base.name": BASE,
      "org.opencontainers.image.base.digest": BASE_DIGEST,
    });
  });

  test("contains the release's binary", async () => {
    const sums = await readFile(join(DIST, "SHA256SUMS"), "utf8");
    const sum = new Bun.CryptoHasher("sha256").update(await Bun.file(join(root, "usr/bin/ipmasq")).bytes());
    expect(sums).toContain(`${sum.digest("hex")}  ${BINARIES[architecture]}\n`);
  });

  test("contains only the binary, conntrack, nft and both variants of iptables as programs", async () => {
    const executable = await output(["find", root, "-type", "f", "-perm", "/111", "-printf", "%P\n"]);
    const programs = executable
      .trim()
      .split("\n")
      .filter(path => !/\.so(\.\d+)?$/.test(path));
    expect(programs.sort()).toEqual(["usr/bin/ipmasq", ...TOOLS]);
  });

  test("contains only files of packages and a few other known files", async () => {
    const records = files.filter(it => it.endsWith(".md5sums"));
    const sums = (await Promise.all(records.map(read))).join("");
    const checked = await output(["sh", "-c", 'cd "$0" && md5sum --check --strict --quiet -', root], sums);
    expect(checked).toBe("");
    const recorded = new Set(
      sums
        .trim()
        .split("\n")
        .map(line => line.replace(/^\w+ +/, "")),
    );
    const rest = files.filter(it => !recorded.has(it) && !it.startsWith("var/lib/dpkg/status.d/"));
    const own = ["bin/ipmasq", "share/doc/ipmasq/copyright", "share/doc/ipmasq/ipmasq.cdx.json"];
    expect(rest).toEqual(own.map(it => `usr/${it}`));
  });

  test("contains an nft that does not crash beside a newer one", async () => {
    const versions = ["nftables", "libnftables1"].map(async name => {
      const { Version } = parseControl(await read(`var/lib/dpkg/status.d/${name}`));
      return /^[\d.]+/.exec(Version)?.[0] ?? "0.0.0";
    });
    for (const it of await Promise.all(versions))
      expect(Bun.semver.order(it, "1.1.3")).toBeGreaterThanOrEqual(0);
  });

  test("contains all licences in full", async () => {
    for (const name of await packages()) {
      const text = await read(`usr/share/doc/${name}/copyright`);
      for (const [, path = ""] of text.matchAll(
        /\/(usr\/share\/common-licenses\/[A-Za-z0-9.-]*[A-Za-z0-9])/g,
      ))
        expect(files).toContain(path);
    }
    const binary = await read("usr/share/doc/ipmasq/copyright");
    for (const it of ["Apache License", "valibot 1.", "yaml 2.", "Permission to use, copy", "Bun 1."])
      expect(binary).toContain(it);
  });

  test("contains a bill of materials with every package", async () => {
    const { components } = v.parse(Bom, JSON.parse(await read("usr/share/doc/ipmasq/ipmasq.cdx.json")));
    const debian = components.filter(it => it.purl.startsWith("pkg:deb/"));
    const recorded = (await packages()).map(async name => {
      const { Version } = parseControl(await read(`var/lib/dpkg/status.d/${name}`));
      return `${name} ${Version}`;
    });
    expect(debian.map(it => `${it.name} ${it.version}`)).toEqual(await Promise.all(recorded));
    expect(debian.map(it => it.name)).toContain("nftables");
    const npm = components.filter(it => it.purl.startsWith("pkg:npm/")).map(it => it.name);
    expect(npm).toEqual(expect.arrayContaining(["bun", "cidr-tools", "consola", "valibot", "yaml"]));
  });

  test("is less than 22 MB larger than Bun, and every file belongs to a component", async () => {
    const table = await output(["bun", "container/sizes.ts", root]);
    const sizes = new Map(
      Array.from(table.matchAll(/^\| (.+) \| ([\d,]+) \|$/gm), ([, what = "", size = ""]) => [
        what,
        Number(size.replaceAll(",", "")),
      ]),
    );
    const bun = [...sizes].find(([what]) => what.startsWith("Bun "))?.[1] ?? 0;
    expect((sizes.get("all") ?? 0) - bun).toBeWithin(1000, 22_000);
  });

  test("contains no trace of the build machine", async () => {
    const uris = await output(["apt-get", "--print-uris", "update"]).catch(() => "");
    const hosts = Array.from(uris.matchAll(/^'\w+:\/\/([^/]+)\//gm), ([, host = ""]) => host);
    // Debian's packages name their own build host.
    for (const host of [
      ...hosts.filter(it => !it.endsWith("debian.org")),
      ".npmrc",
      "sources.list",
      "cafile",
    ])
      expect(
        await output(["sh", "-c", 'grep -rlF "$1" "$0/usr/share" "$0/etc" "$0/var" || :', root, host]),
      ).toBe("");
  });

  test("contains all libraries that its programs and modules link to", async () => {
    const other = architecture === ARCHITECTURE ? undefined : await emulator("arm64");
    if (other !== undefined && "missing" in other) throw new Error(other.missing);
    const loader = (
      await output(["find", root, "-name", "ld-linux-*", "-type", "f", "-printf", "%P\n"])
    ).trim();
    const linked = files.filter(it => /^usr\/s?bin\/|\.so(\.\d+)?$/.test(it) && it !== loader);
    expect(linked.length).toBeGreaterThan(100);
    const [enter, top] = other === undefined ? [["chroot", root], ""] : [other.command(["-L", root]), root];
    for (const path of linked) {
      expect(await output([...enter, `${top}/${loader}`, "--list", `${top}/${path}`])).not.toContain(
        "not found",
      );
    }
  });
}
