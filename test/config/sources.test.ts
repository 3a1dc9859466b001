import { describe, expect, test } from "bun:test";
import { appendFileSync } from "node:fs";
import { chmod, mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { readSources } from "../../src/config/sources.ts";
import { HangingFileSystem } from "../hanging-file-system.ts";
import { absent } from "../programs.ts";
import { Folder } from "./folder.ts";

const ONE = "nonMasqueradeCIDRs: [10.0.0.0/8]\nresyncInterval: 5m\nmasqLinkLocal: true\n";
const TWO =
  "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\nresyncInterval: 2m\ncidrLimit: 70\nmasqLinkLocal: false\n";
const RENAME = 'name configs "config", "config.yaml" or "ip-masq-agent" [file-not-read]';

describe("a directory", () => {
  test("is read file by file in name order, and merged", async () => {
    await using folder = await Folder.create({
      "d/ip-masq-b": ONE,
      "d/ip-masq-a": TWO,
      "d/.ip-masq-c": "x",
      "d/other": "x",
    });
    const loaded = await folder.load("d");
    if (!loaded.ok) throw new Error("not ok");
    expect(loaded.files.map(it => it.slice(folder.path.length))).toEqual(["/d/ip-masq-a", "/d/ip-masq-b"]);
    expect(loaded.problems).toEqual([]);
    const { nonMasqueradeCIDRs, sourceCIDRs, resyncInterval, cidrLimit, masqLinkLocal } = loaded.config;
    expect(nonMasqueradeCIDRs?.map(({ value, at }) => `${value} ${at.line}:${at.column}`)).toEqual([
      "10.0.0.0/8 1:22",
      "192.0.2.0/24 1:34",
    ]);
    expect([resyncInterval?.value, cidrLimit?.value, masqLinkLocal?.value]).toEqual([120_000, 70, true]);
    expect(sourceCIDRs).toBeUndefined();
  });

  test("is limited by the entries of all files, as written", async () => {
    const many = (from: number) =>
      `sourceCIDRs: [${Array.from({ length: 40 }, (_, i) => `10.${from + i}.0.0/16`).join(", ")}]\n`;
    await using folder = await Folder.create({ "d/ip-masq-a": many(0), "d/ip-masq-b": many(20) });
    expect(await folder.problems("d")).toEqual([
      'd/ip-masq-b:1:351: sourceCIDRs: 80 entries exceed the cidrLimit of 64; set "cidrLimit: 80", or remove entries',
    ]);
  });

  test("reports the problems of all files", async () => {
    await using folder = await Folder.create({
      "d/ip-masq-a": "cidrLimit: x",
      "d/ip-masq-b": "a: b: c",
      "d/ip-masq-c": ONE,
    });
    expect((await folder.problems("d")).map(line => line.split(": ")[0])).toEqual([
      "d/ip-masq-a:1:12",
      "d/ip-masq-b:1:4",
    ]);
  });

  test("with kubelet's symbolic links is followed", async () => {
    await using folder = await Folder.create({ "d/..1/ip-masq-agent": TWO });
    await symlink("..1", join(folder.path, "d/..data"));
    await symlink("..data/ip-masq-agent", join(folder.path, "d/ip-masq-agent"));
    for (const path of ["d", "d/ip-masq-agent"]) {
      const loaded = await folder.load(path);
      expect(loaded.ok && loaded.config.cidrLimit?.value).toBe(70);
    }
  });

  test.each(["config", "config.yaml", "config.yml", "config.json", "ip-masq-agent", "ip-masqx"])(
    "includes %p",
    async name => {
      await using folder = await Folder.create({ [`d/${name}`]: TWO });
      const loaded = await folder.load("d");
      expect(loaded.ok && loaded.config.cidrLimit?.value).toBe(70);
      expect(loaded.problems).toEqual([]);
    },
  );

  test("without a config file means the defaults, with a warning if it has other files", async () => {
    await using folder = await Folder.create({
      "d/masq": ONE,
      "d/Config": ONE,
      "d/config.yaml~": ONE,
      "d/ip-masq.d/x": ONE,
      "hidden/.config": "x",
    });
    const found = '"Config", "config.yaml~", "ip-masq.d", "masq"';
    expect(await folder.problems("d")).toEqual([
      `d: warning: no file here is named like a config, so the defaults apply; found: ${found}; ${RENAME}`,
    ]);
    expect(await folder.load("d")).toMatchObject({ ok: true, config: {} });
    expect(await folder.problems("hidden")).toEqual([]);
  });

  test("has a warning about files that look like configs but are not read", async () => {
    await using folder = await Folder.create({
      "d/config": ONE,
      "d/README": "x",
      "d/.values.yaml": "x",
      "d/values.yaml": "x",
      "d/config.toml": "x",
      "d/ip-masq.d/x": "x",
      "volume/config": ONE,
      "volume/masq": "x",
      "volume/..data": "x",
    });
    const line = (name: string, names: string) =>
      `${name}: warning: not read because of the name: ${names}; ${RENAME}`;
    expect(await folder.problems("d")).toEqual([line("d", '"ip-masq.d", "values.yaml"')]);
    expect(await folder.problems("volume")).toEqual([line("volume", '"masq"')]);
  });
});

describe("a path", () => {
  test("that does not exist means the defaults", async () => {
    await using folder = await Folder.create({});
    expect(await folder.load("missing/file")).toEqual({
      ok: true,
      config: {},
      files: [],
      problems: [],
      allowances: [],
    });
  });

  test("that is not a file is refused", async () => {
    await using folder = await Folder.create({ file: "" });
    const remedies = "is not a file or directory; use the path of a file";
    expect(Bun.spawnSync(["mkfifo", join(folder.path, "fifo")]).exitCode).toBe(0);
    const server = Bun.listen({ unix: join(folder.path, "socket"), socket: { data() {} } });
    expect(await folder.problems("fifo")).toEqual([`fifo: ${remedies}`]);
    expect(await folder.problems("socket")).toEqual([`socket: ${remedies}`]);
    expect(await folder.problems("../../dev/zero")).toEqual([`/dev/zero: ${remedies}`]);
    server.stop();
    expect(await folder.problems("file/x")).toEqual([
      "file/x: cannot be read (ENOTDIR); fix the path: a part of it is a file",
    ]);
  });

  test("with a circular or broken symbolic link is refused", async () => {
    await using folder = await Folder.create({ "d/x": "" });
    await symlink("circle", join(folder.path, "circle"));
    await symlink("nowhere", join(folder.path, "d/ip-masq-a"));
    expect(await folder.problems("circle")).toEqual([
      "circle: cannot be read (ELOOP); fix the symbolic link: it leads to itself",
    ]);
    expect(await folder.problems("d")).toEqual([
      "d/ip-masq-a: cannot be read (ENOENT); fix or remove the broken symbolic link",
    ]);
  });

  test("with more than 4 MiB is refused", async () => {
    const mebibytes = (count: number) => Buffer.alloc(count * 1024 * 1024, "#");
    await using folder = await Folder.create({
      a: mebibytes(4),
      b: Buffer.concat([mebibytes(4), Buffer.from("#")]),
      "d/ip-masq-1": mebibytes(3),
      "d/ip-masq-2": mebibytes(2),
    });
    const what = "is larger than 4 MiB; check that it is a config";
    expect(await folder.problems("a")).toEqual([]);
    expect(await folder.problems("b")).toEqual([`b: ${what}`]);
    expect(await folder.problems("d")).toEqual([`d/ip-masq-2: ${what}`]);
  });

  test("without read permission is refused", async () => {
    await using folder = await Folder.create({ secret: ONE });
    await chmod(join(folder.path, "secret"), 0);
    await chmod(folder.path, 0o755);
    const script = `import { readSources } from ${JSON.stringify(join(import.meta.dir, "../../src/config/sources.ts"))};
      process.setuid?.(65534);
      const { problems } = await readSources(${JSON.stringify(join(folder.path, "secret"))});
      console.log(problems[0]?.what + "; " + problems[0]?.remedy);`;
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script]);
    expect(`${stdout}`).toBe("cannot be read (EACCES); give the agent permission to read it\n");
  });
});

test("a file that keeps changing is a problem after some retries", async () => {
  await using folder = await Folder.create({ c: Buffer.alloc(3 * 1024 * 1024, "#") });
  let writing = true;
  const reading = folder.problems("c").finally(() => {
    writing = false;
  });
  while (writing) {
    appendFileSync(join(folder.path, "c"), "#");
    await new Promise(resolve => setImmediate(resolve));
  }
  expect(await reading).toEqual(["c: keeps changing while it is read; try again when its writer is done"]);
});

describe("a file system that does not respond", () => {
  if (HangingFileSystem.missing) absent(HangingFileSystem.missing);
  else
    test("is a problem after a timeout, for every read", async () => {
      await using folder = await Folder.create({ "d/c": ONE, c: ONE });
      const hanging = await HangingFileSystem.mount(join(folder.path, "d"));
      const [first, second] = await Promise.all(
        ["d/c", "c"].map(name => readSources(join(folder.path, name), 100)),
      );
      await hanging.release();
      for (const sources of [first, second]) {
        expect(sources?.problems.map(({ what }) => what)).toEqual([
          "config cannot be read (timed out after 100ms)",
        ]);
      }
      expect(await folder.problems("c")).toEqual([]);
    });
});

test("the digest changes only with names, contents and problems", async () => {
  await using folder = await Folder.create({ "a/ip-masq": ONE, "b/ip-masq": TWO, "c/x": "", "c/y": "" });
  const digest = async (name: string) => (await readSources(join(folder.path, name))).digest;
  const all = await Promise.all(["a", "a/ip-masq", "b", "c", "missing"].map(digest));
  expect(new Set(all.slice(1)).size).toBe(4);
  expect(all[0]).toBe(all[1] ?? "");
  expect(await digest("a")).toBe(all[0] ?? "");
  await mkdir(join(folder.path, "c/z"));
  expect(await digest("c")).not.toBe(all[3] ?? "");
});
