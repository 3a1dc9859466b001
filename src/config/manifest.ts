import { isConfigName } from "./config-name.ts";
import { KNOWN_KEY } from "./document.ts";
import { MANIFEST_LIMITS } from "./limits.ts";
import type { Mapping, Node, Scalar } from "./node.ts";
import { type Problem, quote } from "./problem.ts";
import { parseYaml } from "./syntax.ts";
import { type Text, wholeText } from "./text.ts";
import { buildTree } from "./tree.ts";

/** What was found in a text that may be a manifest. */
export interface Found {
  /** In the order of their keys; with the places that they have in the manifest. */
  readonly configs: readonly Text[];
  readonly problems: readonly Problem[];
}

/**
 * The configs inside of a manifest's ConfigMap: the values of those keys of its `data` that would be read as files of a
 * directory, or of the only key. Of several ConfigMaps it is the one named ip-masq-agent, or the only one that holds a
 * config.
 *
 * @param name of the ConfigMap that is wanted
 * @returns undefined if the text is not a manifest
 */
export function configInManifest(text: Text, name?: string): Found | undefined {
  const { documents, problems } = parseYaml(text, MANIFEST_LIMITS);
  const trees = documents.map(document => buildTree(text, document));
  const all = [...problems, ...trees.flatMap(tree => tree.problems)];
  if (all.some(({ severity }) => severity === "error")) return { configs: [], problems: all };
  if (name === undefined && !trees.some(({ root }) => textAt(root, "kind") !== undefined)) return undefined;
  const chosen = choose(
    trees.flatMap(({ root }) => configMaps(root)),
    name,
  );
  if ("what" in chosen) {
    const { what, remedy } = chosen;
    return { configs: [], problems: [...all, { severity: "error", at: { file: text.file }, what, remedy }] };
  }
  const { configs, problems: more } = configsOf(text, chosen);
  return { configs, problems: [...all, ...more] };
}

interface ConfigMap {
  readonly name: string;
  readonly root: Mapping;
}

/** The ConfigMap that a document is; or those of a `List`, as kubectl prints several. */
function configMaps(root: Node | undefined): ConfigMap[] {
  if (root?.kind !== "mapping") return [];
  const items = valueAt(root, "items");
  const kind = textAt(root, "kind");
  if (items?.kind === "list" && (kind === "List" || kind === "ConfigMapList")) {
    return items.items.flatMap(item => configMaps(kind === "List" ? item : asConfigMap(item)));
  }
  return kind === "ConfigMap" ? [{ name: textAt(valueAt(root, "metadata"), "name") ?? "", root }] : [];
}

/** Items of a ConfigMapList may leave out their kind. */
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
    return { what, remedy: "give a manifest with one of them" };
  }
  if (others.length === 0) return only;
  const usual = all.filter(it => it.name === USUAL_NAME);
  const fitting = usual.length > 0 ? usual : all.filter(holdsConfig);
  const [fits, ...more] = fitting;
  if (fits && more.length === 0) return fits;
  return fits
    ? {
        what: `several ConfigMaps hold a config: ${names(fitting)}`,
        remedy: "choose one by --configmap=NAME",
      }
    : { what: `no ConfigMap holds a config: ${names(all)}`, remedy: DATA };
}

const USUAL_NAME = "ip-masq-agent";
const DATA = 'put the config under "data" of a ConfigMap, with the key "config"';

function holdsConfig({ root }: ConfigMap): boolean {
  const data = valueAt(root, "data");
  if (data?.kind !== "mapping") return false;
  return [...data.entries.values()].some(
    ({ value }) => value.kind === "scalar" && KNOWN_KEY.test(value.text),
  );
}

/** A warning: what the manifest has as its only key is read, but not as a file of a directory. */
function readHereAlone(key: Scalar): Problem {
  return {
    severity: "warning",
    name: "file-not-read",
    at: key.at,
    key: `data.${key.text}`,
    what: "the agent does not read this key where the ConfigMap is mounted as a directory",
    remedy: 'name the key "config"',
  };
}

function configsOf(text: Text, { name, root }: ConfigMap): Found {
  const data = valueAt(root, "data");
  const error = (at: Problem["at"], what: string, remedy: string, key?: string): Found => ({
    configs: [],
    problems: [{ severity: "error", at, ...(key === undefined ? {} : { key }), what, remedy }],
  });
  if (data?.kind !== "mapping" || data.entries.size === 0) {
    const binary = valueAt(root, "binaryData") ? ', only "binaryData"' : "";
    return error(root.at, `the ConfigMap ${quote(name)} has no "data"${binary}`, DATA);
  }
  const entries = [...data.entries.values()];
  const named = entries.filter(({ key }) => isConfigName(key.text));
  const read = named.length > 0 || entries.length > 1 ? named : entries;
  const others = entries.filter(it => !read.includes(it));
  if (read.length === 0) {
    const keys = others.map(({ key }) => quote(key.text)).join(", ");
    return error(data.at, `no key of the ConfigMap ${quote(name)} is read as a config: ${keys}`, DATA);
  }
  const configs: Text[] = [];
  const problems: Problem[] = [];
  for (const { key, value } of read.toSorted((a, b) => (a.key.text < b.key.text ? -1 : 1))) {
    if (value.kind === "scalar") configs.push(within(text, value));
    else {
      const what = `a ${value.kind}, where a ConfigMap has text`;
      const remedy = `write "${key.text}: |" and the config below, indented`;
      problems.push({ severity: "error", at: value.at, key: `data.${key.text}`, what, remedy });
    }
  }
  if (named.length === 0 && read[0]) problems.push(readHereAlone(read[0].key));
  for (const { key } of others) {
    const about = { at: key.at, key: `data.${key.text}`, what: "not read, because of the name" };
    const remedy = 'name the key "config", "config.yaml" or "ip-masq-agent"';
    problems.push({ severity: "warning", name: "file-not-read", ...about, remedy });
  }
  return { configs, problems };
}

function valueAt(node: Node | undefined, key: string): Node | undefined {
  return node?.kind === "mapping" ? node.entries.get(key)?.value : undefined;
}

function textAt(node: Node | undefined, key: string): string | undefined {
  const value = valueAt(node, key);
  return value?.kind === "scalar" ? value.text : undefined;
}

/**
 * The content of a scalar as a text of its own. Of a literal block each line is a line of the manifest; of
 * other scalars only the beginning is known.
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
