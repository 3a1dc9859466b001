import { quote } from "../net/parse-failure.ts";
import { KNOWN_KEY } from "./key-names.ts";
import type { Problem } from "./problem.ts";
import { isConfigName } from "./sources.ts";
import { MANIFEST_LIMITS, type Text, wholeText } from "./text.ts";
import type { Mapping, Node, Scalar } from "./values.ts";
import { parseYaml } from "./yaml.ts";

/** The configs of a manifest. */
export interface Found {
  /** The configs in the order of their keys, with their places in the manifest. */
  readonly configs: readonly Text[];
  readonly problems: readonly Problem[];
}

/**
 * The configs in the ConfigMap of a manifest: the values in `data` whose keys are names of config files, or the only
 * value. If there are several ConfigMaps, the ConfigMap named ip-masq-agent is used, or else the only ConfigMap with a
 * config.
 *
 * @param name the name of the ConfigMap to use
 * @returns undefined if the text is not a manifest
 */
export function configInManifest(text: Text, name?: string): Found | undefined {
  const { roots, problems } = parseYaml(text, MANIFEST_LIMITS);
  if (problems.some(({ severity }) => severity === "error")) return { configs: [], problems };
  if (name === undefined && !roots.some(root => textAt(root, "kind") !== undefined)) return undefined;
  const chosen = choose(roots.flatMap(configMaps), name);
  const { configs, problems: more } =
    "what" in chosen ? refused({ file: text.file }, chosen.what, chosen.remedy) : configsOf(text, chosen);
  return { configs, problems: [...problems, ...more] };
}

interface ConfigMap {
  readonly name: string;
  readonly root: Mapping;
}

/** The ConfigMaps in a document: itself, or the items of a `List`, as kubectl prints several. */
function configMaps(root: Node): ConfigMap[] {
  if (root.kind !== "mapping") return [];
  const items = valueAt(root, "items");
  const kind = textAt(root, "kind");
  if (items?.kind === "list" && (kind === "List" || kind === "ConfigMapList")) {
    return items.items.flatMap(item => configMaps(kind === "List" ? item : asConfigMap(item)));
  }
  return kind === "ConfigMap" ? [{ name: textAt(valueAt(root, "metadata"), "name") ?? "", root }] : [];
}

/** Adds the kind, which items of a ConfigMapList may omit. */
function asConfigMap(item: Node): Node {
  if (item.kind !== "mapping" || item.entries.has("kind")) return item;
  const kind: Scalar = { kind: "scalar", at: item.at, text: "kind", style: "plain" };
  const entries = new Map([...item.entries, ["kind", { key: kind, value: { ...kind, text: "ConfigMap" } }]]);
  return { ...item, entries };
}

function choose(
  all: readonly ConfigMap[],
  name: string | undefined,
): ConfigMap | { readonly what: string; readonly remedy: string } {
  const names = (some: readonly ConfigMap[]) => some.map(it => quote(it.name)).join(", ");
  const [only, ...others] = all;
  if (!only) return { what: "no ConfigMap in the manifest", remedy: DATA };
  if (name !== undefined) {
    const [named, ...more] = all.filter(it => it.name === name);
    if (!named) {
      return { what: `no ConfigMap is named ${quote(name)}`, remedy: `choose one of ${names(all)}` };
    }
    if (more.length === 0) return named;
    const what = `${more.length + 1} ConfigMaps are named ${quote(name)}`;
    return { what, remedy: "use a manifest with one of them" };
  }
  if (others.length === 0) return only;
  const usual = all.filter(it => it.name === USUAL_NAME);
  const fitting = usual.length > 0 ? usual : all.filter(holdsConfig);
  const [fits, ...more] = fitting;
  if (fits && more.length === 0) return fits;
  return fits
    ? {
        what: `several ConfigMaps hold a config: ${names(fitting)}`,
        remedy: "choose one with --configmap=NAME",
      }
    : { what: `no ConfigMap holds a config: ${names(all)}`, remedy: DATA };
}

const USUAL_NAME = "ip-masq-agent";
const DATA = 'put the config into "data" of a ConfigMap, under the key "config"';

function holdsConfig({ root }: ConfigMap): boolean {
  const data = valueAt(root, "data");
  if (data?.kind !== "mapping") return false;
  return [...data.entries.values()].some(
    ({ value }) => value.kind === "scalar" && KNOWN_KEY.test(value.text),
  );
}

/**
 * The warning about a ConfigMap's only key that is read here, although the agent would not read a file of that name.
 */
function notReadInDirectory(key: Scalar): Problem {
  return {
    severity: "warning",
    name: "file-not-read",
    at: key.at,
    key: `data.${key.text}`,
    what: "the agent does not read this key when the ConfigMap is mounted as a directory",
    remedy: 'rename the key to "config"',
  };
}

function configsOf(text: Text, { name, root }: ConfigMap): Found {
  const data = valueAt(root, "data");
  if (data?.kind !== "mapping" || data.entries.size === 0) {
    const binary = valueAt(root, "binaryData") ? ', only "binaryData"' : "";
    return refused(root.at, `the ConfigMap ${quote(name)} has no "data"${binary}`, DATA);
  }
  const entries = [...data.entries.values()];
  const named = entries.filter(({ key }) => isConfigName(key.text));
  const read = named.length > 0 || entries.length > 1 ? named : entries;
  const others = entries.filter(it => !read.includes(it));
  if (read.length === 0) {
    const keys = others.map(({ key }) => quote(key.text)).join(", ");
    return refused(data.at, `no key of the ConfigMap ${quote(name)} is named like a config: ${keys}`, DATA);
  }
  const configs: Text[] = [];
  const problems: Problem[] = [];
  for (const { key, value } of read.toSorted((a, b) => (a.key.text < b.key.text ? -1 : 1))) {
    if (value.kind === "scalar") configs.push(within(text, value));
    else {
      const what = `a ${value.kind}, but ConfigMaps hold strings`;
      const remedy = `write "${key.text}: |" and indent the config below it`;
      problems.push({ severity: "error", at: value.at, key: `data.${key.text}`, what, remedy });
    }
  }
  if (named.length === 0 && read[0]) problems.push(notReadInDirectory(read[0].key));
  for (const { key } of others) {
    const about = { at: key.at, key: `data.${key.text}`, what: "not read because of the name" };
    const remedy = 'rename the key to "config", "config.yaml" or "ip-masq-agent"';
    problems.push({ severity: "warning", name: "file-not-read", ...about, remedy });
  }
  return { configs, problems };
}

function refused(at: Problem["at"], what: string, remedy: string): Found {
  return { configs: [], problems: [{ severity: "error", at, what, remedy }] };
}

function valueAt(node: Node | undefined, key: string): Node | undefined {
  return node?.kind === "mapping" ? node.entries.get(key)?.value : undefined;
}

function textAt(node: Node | undefined, key: string): string | undefined {
  const value = valueAt(node, key);
  return value?.kind === "scalar" ? value.text : undefined;
}

/**
 * The content of a scalar as a text. Places in a literal block are exact, since its lines are lines of the manifest.
 * In other scalars, every place is the start of the scalar.
 */
function within(manifest: Text, { text, style, at: start }: Scalar): Text {
  if (style !== "literal") return { file: manifest.file, content: text, at: () => start };
  const lines = manifest.content.split("\n");
  const inner = text.split("\n");
  const first = inner.findIndex(line => line !== "");
  const outer = lines[start.line + first]?.replace(/\r$/, "") ?? "";
  const indentation = outer.length - (inner[first]?.length ?? 0);
  const own = wholeText(manifest.file, text);
  return {
    ...own,
    at(offset) {
      const { file, line, column } = own.at(offset);
      return { file, line: start.line + line, column: column + indentation };
    },
  };
}
