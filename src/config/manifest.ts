import { MANIFEST_LIMITS } from "./limits.ts";
import type { Node, Scalar } from "./node.ts";
import { type Problem, quote } from "./problem.ts";
import { parseYaml } from "./syntax.ts";
import { type Text, wholeText } from "./text.ts";
import { buildTree } from "./tree.ts";

/**
 * The config inside of a manifest's ConfigMap, with the places that it has in the manifest: the value of the
 * key `config` of its `data`, or of the only key.
 *
 * @param name of the ConfigMap; if left out there must be exactly one that fits
 */
export function configInManifest(text: Text, name?: string): { config?: Text; problems: readonly Problem[] } {
  const { documents, problems } = parseYaml(text, MANIFEST_LIMITS);
  const trees = documents.map(document => buildTree(text, document));
  problems.push(...trees.flatMap(tree => tree.problems));
  if (problems.some(({ severity }) => severity === "error")) return { problems };
  const maps = trees.flatMap(({ root }) => configMaps(root)).filter(it => !name || it.name === name);
  const [map, ...more] = maps;
  if (map && more.length === 0) return { config: within(text, map.config), problems };
  const file = { file: text.file };
  const error = (what: string, remedy: string): Problem => ({ severity: "error", at: file, what, remedy });
  const names = maps.map(it => quote(it.name)).join(", ");
  return {
    problems: [
      ...problems,
      map && name
        ? error(`${maps.length} ConfigMaps are named ${quote(name)}`, "give a manifest with one of them")
        : map
          ? error(`several ConfigMaps hold a config: ${names}`, "choose one by --configmap=NAME")
          : error(
              name ? `no ConfigMap named ${quote(name)} holds a config` : "no ConfigMap holds a config",
              'put the config under "data", with the key "config"',
            ),
    ],
  };
}

interface ConfigMap {
  readonly name: string;
  readonly config: Scalar;
}

/** The ConfigMap that a document is, if it holds a config; or those of a `List`, as kubectl prints several. */
function configMaps(root: Node | undefined): ConfigMap[] {
  if (root?.kind !== "mapping") return [];
  const kind = textAt(root, "kind");
  const items = valueAt(root, "items");
  if (kind === "List" && items?.kind === "list") return items.items.flatMap(configMaps);
  const data = valueAt(root, "data");
  if (kind !== "ConfigMap" || data?.kind !== "mapping") return [];
  const [only, ...others] = [...data.entries.values()].map(({ value }) => value);
  const config = valueAt(data, "config") ?? (others.length === 0 ? only : undefined);
  if (config?.kind !== "scalar") return [];
  return [{ name: textAt(valueAt(root, "metadata"), "name") ?? "", config }];
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
