/**
 * `bun scripts/release-notes.ts v0.2.0`: prints the section of CHANGELOG.md of a version, for the release. Fails unless
 * package, image and chart have that version.
 */
import { join } from "node:path";
import { parse } from "yaml";
import { version } from "../package.json";
import { messageOf } from "../src/system/errors.ts";
import { CHART } from "./helm.ts";

const ROOT = join(import.meta.dir, "..");

/** @throws Error with the files that have another version, or no section of it */
export async function releaseNotes(tag: string): Promise<string> {
  const number = tag.replace(/^v/, "");
  const dockerfile = await Bun.file(join(ROOT, "container/Dockerfile")).text();
  const chart: { version: string; appVersion: string } = parse(
    await Bun.file(join(CHART, "Chart.yaml")).text(),
  );
  const versions = {
    "package.json": version,
    "container/Dockerfile": /^ARG VERSION=(.*)$/m.exec(dockerfile)?.[1],
    "version in Chart.yaml": chart.version,
    "appVersion in Chart.yaml": chart.appVersion,
  };
  const wrong = Object.entries(versions).filter(([, found]) => found !== number);
  if (wrong.length > 0) throw new Error(wrong.map(([file, found]) => `${file} has ${found}`).join(", "));
  return sectionOf(number, await Bun.file(join(ROOT, "CHANGELOG.md")).text());
}

/** The text below the heading of a version, such as `## 0.2.0 (2026-12-01)`. */
export function sectionOf(number: string, changelog: string): string {
  const section = changelog.split(/^## /m).find(it => /^\S+/.exec(it)?.[0] === number);
  if (section === undefined) throw new Error(`CHANGELOG.md has no section "${number}"`);
  return `${section.slice(section.indexOf("\n")).trim()}\n`;
}

if (import.meta.main) {
  try {
    process.stdout.write(await releaseNotes(process.argv[2] ?? ""));
  } catch (error) {
    process.stderr.write(`release-notes: ${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
