/**
 * Whether a file of this name in a config directory is read: `ip-masq*`, or `config` with or without the ending of
 * YAML or JSON. A ConfigMap that is mounted as a directory has a file for each of its keys.
 */
export function isConfigName(name: string): boolean {
  return name.startsWith("ip-masq") || /^config(\.(yaml|yml|json))?$/.test(name);
}

/** Whether a file that is not read was probably intended as a config. */
export function looksLikeConfigName(name: string): boolean {
  return isConfigName(name) || /\.(yaml|yml|json)$/i.test(name);
}
