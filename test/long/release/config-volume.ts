import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** A ConfigMap volume with the key config, as kubelet creates it: renaming the link `..data` changes all its files at once. */
export class ConfigVolume {
  #saved = 0;

  private constructor(readonly path: string) {}

  /** Creates the volume in an existing folder, and replaces its config. */
  static async create(path: string, config: string): Promise<ConfigVolume> {
    const volume = new ConfigVolume(path);
    await volume.save(config);
    await symlink("..data/config", join(path, "..link"));
    await rename(join(path, "..link"), join(path, "config"));
    return volume;
  }

  async save(config: string): Promise<void> {
    const before = `..${this.#saved++}`;
    const after = `..${this.#saved}`;
    await mkdir(join(this.path, after));
    await writeFile(join(this.path, after, "config"), config);
    await symlink(after, join(this.path, "..data_tmp"));
    await rename(join(this.path, "..data_tmp"), join(this.path, "..data"));
    await rm(join(this.path, before), { recursive: true, force: true });
  }
}
