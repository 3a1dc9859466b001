/** `npm run build`: makes dist/ipmasq for this machine. */
import { $ } from "bun";
import { version } from "../package.json";

const commit = (await $`git rev-parse --short=12 HEAD`.nothrow().quiet().text()).trim() || "unknown";

const result = await Bun.build({
  entrypoints: ["src/main.ts"],
  compile: {
    outfile: "dist/ipmasq",
    // A binary that is started in somebody's directory reads nothing that happens to lie there.
    autoloadDotenv: false,
    autoloadBunfig: false,
    autoloadPackageJson: false,
    autoloadTsconfig: false,
  },
  target: "bun",
  format: "esm",
  minify: true,
  bytecode: true,
  define: { IPMASQ_VERSION: JSON.stringify(version), IPMASQ_COMMIT: JSON.stringify(commit) },
  throw: false,
});
for (const message of result.logs) process.stderr.write(`${message}\n`);
if (!result.success) process.exit(1);
process.stdout.write(`dist/ipmasq: version ${version}, commit ${commit}\n`);
