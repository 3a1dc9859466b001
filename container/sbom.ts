/**
 * `bun container/sbom.ts ROOT`: writes the image's bill of materials, as CycloneDX JSON, and the licences of the
 * packages in the binary into the image's file system. `container/root` has written the licences of Debian's packages.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cyclonedxEsbuildPlugin } from "@cyclonedx/cyclonedx-esbuild";
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import * as v from "valibot";
import { parseControl } from "./control.ts";

const SPEC = Spec.Version.v1dot6;

/** The licences of a component in the binary, in the output of CycloneDX' bundler plugin. Other properties are kept. */
const Declared = v.looseObject({ license: v.looseObject({ id: v.string() }) });
const Found = v.looseObject({ license: v.looseObject({ text: v.looseObject({ content: v.string() }) }) });
const Component = v.looseObject({
  group: v.optional(v.string()),
  name: v.string(),
  version: v.string(),
  licenses: v.array(Declared),
  evidence: v.looseObject({ licenses: v.array(Found) }),
});
type Component = v.InferOutput<typeof Component>;
const Bom = v.looseObject({
  metadata: v.looseObject({ component: Component }),
  components: v.array(Component),
});

const [root] = process.argv.slice(2);
if (root === undefined) throw new Error("bun container/sbom.ts ROOT");
const bom = await bomOfBinary();
const folder = join(root, "usr/share/doc/ipmasq");
await Bun.write(join(folder, "copyright"), copyrightOf(bom));
const text = JSON.stringify(
  { ...bom, components: [...bom.components, bun(), ...(await debian(root))] },
  null,
  1,
);
const refusal = await new Validation.JsonStrictValidator(SPEC).validate(text);
if (refusal !== null)
  throw new Error(`the bill does not match CycloneDX' schema: ${JSON.stringify(refusal)}`);
await Bun.write(join(folder, "ipmasq.cdx.json"), text);

/** The bill of the packages that the bundler includes, which are fewer than `npm install` installs. */
async function bomOfBinary(): Promise<v.InferOutput<typeof Bom>> {
  const scratch = await mkdtemp(join(tmpdir(), "ipmasq-sbom-"));
  try {
    const outputFile = join(scratch, "bom.json");
    await Bun.build({
      entrypoints: ["src/main.ts"],
      outdir: scratch,
      target: "bun",
      metafile: true,
      plugins: [
        cyclonedxEsbuildPlugin({
          outputFile,
          specVersion: SPEC,
          gatherLicenseTexts: true,
          outputReproducible: true,
          logLevel: "error",
        }),
      ],
    });
    return v.parse(Bom, await Bun.file(outputFile).json());
  } finally {
    await rm(scratch, { recursive: true });
  }
}

function bun() {
  return {
    type: "platform",
    name: "bun",
    version: Bun.version,
    purl: `pkg:npm/bun@${Bun.version}`,
    licenses: [{ license: { id: "MIT" } }],
  };
}

/** Debian's packages, by their records. */
async function debian(root: string) {
  const records = join(root, "var/lib/dpkg/status.d");
  const { ID, VERSION_ID } = parseOsRelease(await Bun.file(join(root, "usr/lib/os-release")).text());
  const names = (await readdir(records)).filter(name => !name.endsWith(".md5sums")).sort();
  return Promise.all(
    names.map(async name => {
      const { Version, Architecture, Source, Maintainer } = parseControl(
        await Bun.file(join(records, name)).text(),
      );
      const version = encodeURIComponent(Version).replaceAll("%3A", ":");
      const source = Source === undefined ? "" : `&upstream=${encodeURIComponent(Source.replace(/ .*/, ""))}`;
      const purl = `pkg:deb/debian/${name}@${version}?arch=${Architecture}&distro=${ID}-${VERSION_ID}${source}`;
      return {
        type: "library",
        supplier: { name: Maintainer },
        name,
        version: Version,
        "bom-ref": purl,
        purl,
      };
    }),
  );
}

function parseOsRelease(text: string) {
  const pairs = Array.from(text.matchAll(/^(\w+)="?(.*?)"?$/gm), ([, name, value]) => [name, value]);
  return v.parse(v.object({ ID: v.string(), VERSION_ID: v.string() }), Object.fromEntries(pairs));
}

/** The licences of ipmasq and of the packages in its binary, with their texts. */
function copyrightOf({ metadata, components }: v.InferOutput<typeof Bom>): string {
  const bunLicence = `https://github.com/oven-sh/bun/blob/bun-v${Bun.version}/LICENSE.md`;
  return `/usr/bin/ipmasq contains the components below and Bun ${Bun.version} (MIT). For the licences of Bun's own components,
such as JavaScriptCore (LGPL-2), and how to relink it, see ${bunLicence}.

${[metadata.component, ...components].map(licence).join("\n")}`;
}

function licence({ group, name, version, licenses, evidence }: Component): string {
  const full = group === undefined ? name : `${group}/${name}`;
  const texts = evidence.licenses.map(it => Buffer.from(it.license.text.content, "base64").toString());
  return [`==== ${full} ${version}: ${licenses.map(it => it.license.id).join(", ")}`, ...texts, ""].join(
    "\n\n",
  );
}
