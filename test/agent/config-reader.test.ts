import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { output } from "../../lab/output.ts";
import { save } from "../../lab/save.ts";
import { ConfigReader } from "../../src/agent/config-reader.ts";
import { writersOf } from "../../src/agent/writers.ts";
import { HangingFileSystem } from "../hanging-file-system.ts";
import { absent } from "../programs.ts";

const QUIET_MS = 10_000;
/** Longer than any reaction on a busy machine, and shorter than `QUIET_MS`. */
const AT_ONCE_MS = 8000;
/** For tests that need no shorter pauses. */
const SHORT_MS = 400;
const OLD = "cidrLimit: 1\n";

let folder: string;
let config: string;
let seen: Seen;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "config-reader-"));
  config = join(folder, "config");
  await writeFile(config, OLD);
});
afterEach(async () => {
  seen.reader.stop();
  await rm(folder, { recursive: true });
});

/** A reader, the configs that it reads, and its other reports. */
class Seen {
  readonly texts: string[] = [];
  readonly reports: string[] = [];
  /** Whether a newer config is incomplete. */
  isIncomplete = false;
  readonly reader: ConfigReader;
  #more = Promise.withResolvers<void>();

  private constructor(path: string, quiet: number) {
    const report = (what: string) => {
      this.reports.push(what);
      this.#next();
    };
    this.reader = new ConfigReader(
      path,
      {
        changed: () => {
          this.texts.push(text(this.reader));
          this.#next();
        },
        lost: report,
        incomplete: isIncomplete => {
          this.isIncomplete = isIncomplete;
        },
        writing: () => report("writing"),
        truncated: file => report(`truncated: ${file.slice(folder.length + 1)}`),
        hung: deadline => report(deadline === undefined ? "answers" : `hangs for ${deadline} ms`),
      },
      { quiet, deadline: 200 },
    );
  }

  static started(path: string, quiet = QUIET_MS): Seen {
    const seen = new Seen(path, quiet);
    seen.reader.watch();
    return seen;
  }

  static async of(path: string, quiet = QUIET_MS): Promise<Seen> {
    const seen = Seen.started(path, quiet);
    // The second look begins after the first one has added its watches.
    for (let i = 0; i < 2; i++) await seen.reader.latest(5000);
    seen.texts.length = 0;
    return seen;
  }

  /** Waits until a text is used. Returns how many milliseconds that took. */
  async until(expected: string): Promise<number> {
    const began = performance.now();
    while (this.texts.at(-1) !== expected) await this.#more.promise;
    return performance.now() - began;
  }

  async reported(what: string): Promise<void> {
    while (!this.reports.includes(what)) await this.#more.promise;
  }

  #next(): void {
    this.#more.resolve();
    this.#more = Promise.withResolvers<void>();
  }
}

function text(reader: ConfigReader): string {
  return (reader.complete?.files ?? []).map(({ bytes }) => Buffer.from(bytes).toString()).join("+");
}

/** Ways in which editors and kubelet replace a config. */
const AT_ONCE: Readonly<Record<string, (text: string) => Promise<void>>> = {
  "renamed to the path": text => save(config, text),
  "renamed to the path some time after it was written": async text => {
    await writeFile(join(folder, "new"), text);
    await Bun.sleep(20);
    await rename(join(folder, "new"), config);
  },
  "written by sed -i": async text => {
    await output(["sed", "-i", `s/.*/${text.trim()}/`, config]);
  },
  "moved from another directory": async text => {
    await mkdir(join(folder, "other"));
    await writeFile(join(folder, "other/new"), text);
    await rename(join(folder, "other/new"), config);
  },
};

test.each(Object.entries(AT_ONCE))("a config that is %s is used at once", async (_name, write) => {
  seen = await Seen.of(config);
  for (const text of ["cidrLimit: 2\n", "cidrLimit: 3\n"]) {
    await rm(join(folder, "other"), { recursive: true, force: true });
    await write(text);
    expect(await seen.until(text)).toBeLessThan(AT_ONCE_MS);
  }
  expect(seen.texts).toEqual(["cidrLimit: 2\n", "cidrLimit: 3\n"]);
});

test("the text of a used config is forgotten, but not that of a newer one", async () => {
  await save(config, "cidrLimit: 2\n");
  seen = await Seen.of(config);
  const { reader } = seen;
  const used = reader.complete;
  reader.release({ digest: used?.digest ?? "" });
  await reader.latest(5000);
  expect([text(reader), reader.complete?.digest]).toEqual(["", used?.digest]);
  await save(config, "cidrLimit: 3\n");
  await seen.until("cidrLimit: 3\n");
  reader.release({ digest: used?.digest ?? "" });
  expect(text(reader)).toBe("cidrLimit: 3\n");
});

test.each(["config", "."])("an updated ConfigMap is used at once, with the path %s", async path => {
  const volume = join(folder, "volume");
  const swap = async (number: number) => {
    await mkdir(join(volume, `..${number}`), { recursive: true });
    await writeFile(join(volume, `..${number}/config`), `cidrLimit: ${number}\n`);
    await symlink(`..${number}`, join(volume, "..data_tmp"));
    await rename(join(volume, "..data_tmp"), join(volume, "..data"));
  };
  await mkdir(volume);
  seen = await Seen.of(join(volume, path));
  await swap(5);
  await symlink("..data/config", join(volume, "config"));
  for (let i = 5; i < 10; i++) {
    if (i > 5) await swap(i);
    expect(await seen.until(`cidrLimit: ${i}\n`)).toBeLessThan(AT_ONCE_MS);
    await rm(join(volume, `..${i - 1}`), { recursive: true, force: true });
  }
  expect(seen.texts).toHaveLength(5);
});

describe("a config written in place", () => {
  test("is used after the quiet time if its writer is invisible", async () => {
    seen = await Seen.of(config, SHORT_MS);
    // This process writes, and the search for writers skips itself.
    await writeFile(config, "cidrLimit: 2\n");
    expect(await seen.until("cidrLimit: 2\n")).toBeGreaterThan(SHORT_MS - 50);
    await unlink(config);
    await writeFile(config, "cidrLimit: 3\n");
    expect(await seen.until("cidrLimit: 3\n")).toBeGreaterThan(SHORT_MS - 50);
    expect(seen.texts).toEqual(["cidrLimit: 2\n", "cidrLimit: 3\n"]);
  });

  test("is used as soon as its visible writer has closed it", async () => {
    seen = await Seen.of(config);
    const writer = Bun.spawn(
      ["sh", "-c", 'exec 3>"$0"; echo cidrLimit: >&3; sleep 0.2; echo "  2" >&3; read line', config],
      { stdin: "pipe" },
    );
    while ((await readFile(config, "utf8")) !== "cidrLimit:\n  2\n") await Bun.sleep(5);
    await Bun.sleep(100);
    expect(await writersOf(config)).toBe("open");
    expect(seen.texts).toEqual([]);
    writer.kill();
    expect(await seen.until("cidrLimit:\n  2\n")).toBeLessThan(AT_ONCE_MS);
    expect(await writersOf(config)).toBe("unknown");
    expect(await writersOf(config, true)).toBe("none");
  });

  test("is not used at start before its visible writer has closed it", async () => {
    const writer = Bun.spawn(
      ["sh", "-c", 'exec 3>"$0"; echo cidrLimit: >&3; read line; echo "  2" >&3', config],
      {
        stdin: "pipe",
      },
    );
    while ((await readFile(config, "utf8")) !== "cidrLimit:\n") await Bun.sleep(5);
    seen = Seen.started(config);
    expect(await seen.reader.latest(300)).toBeUndefined();
    writer.stdin.end();
    expect(await seen.until("cidrLimit:\n  2\n")).toBeLessThan(AT_ONCE_MS);
    expect(seen.texts).toHaveLength(1);
  });

  test("is never used in part, however it is written", async () => {
    const pieces = fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 9 }), pause: fc.nat(400) }), {
      minLength: 1,
      maxLength: 4,
    });
    const ways = fc.constantFrom("truncated", "overwritten", "created");
    let number = 100;
    seen = await Seen.of(config, 1000);
    await fc.assert(
      fc.asyncProperty(ways, pieces, fc.boolean(), async (way, pieces, long) => {
        const text = `cidrLimit: ${++number}\n${long ? "# a comment that makes it longer\n" : ""}`;
        seen.texts.length = 0;
        if (way === "created") await unlink(config);
        const file = openSync(config, way === "overwritten" ? "r+" : "w");
        let written = 0;
        for (const { bytes, pause } of [...pieces, { bytes: text.length, pause: 0 }]) {
          await Bun.sleep(pause);
          written += writeSync(file, text.slice(written, written + bytes), written);
        }
        ftruncateSync(file, text.length);
        closeSync(file);
        await seen.until(text);
        expect(seen.texts).toEqual([text]);
      }),
      { numRuns: 3, endOnFailure: true },
    );
  }, 20_000);

  test("is reported once while it is written over and over, and its last version is used", async () => {
    seen = await Seen.of(config, SHORT_MS);
    let writing = true;
    const written = (async () => {
      for (let i = 0; writing; i++) {
        await writeFile(config, `cidrLimit: ${i}\n`);
        await Bun.sleep(40);
      }
      await writeFile(config, "cidrLimit: 7\n");
    })();
    await seen.reported("writing");
    await Bun.sleep(200);
    expect(seen.texts).toEqual([]);
    expect(seen.isIncomplete).toBe(true);
    writing = false;
    await written;
    await seen.until("cidrLimit: 7\n");
    expect(seen.reports).toEqual(["writing"]);
    expect(seen.isIncomplete).toBe(false);
  }, 15_000);

  test("is used on a small disk with free space", async () => {
    const disk = join(folder, "disk");
    await mkdir(disk);
    await output(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
    const path = join(disk, "config");
    try {
      await writeFile(path, OLD);
      seen = await Seen.of(path, SHORT_MS);
      await writeFile(path, "cidrLimit: 2\n");
      await seen.until("cidrLimit: 2\n");
      expect(seen.reports).toEqual([]);
      const text = `cidrLimit: 3\n${"# long\n".repeat(10_000)}`;
      await expect(writeFile(path, text)).rejects.toThrow("ENOSPC");
      await seen.reported("truncated: disk/config");
    } finally {
      seen.reader.stop();
      await output(["umount", "-l", disk]);
    }
  });

  test("is used on a full disk only after it is written again", async () => {
    const disk = join(folder, "disk");
    await mkdir(disk);
    await output(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]);
    const path = join(disk, "config");
    try {
      await writeFile(path, OLD);
      seen = await Seen.of(path, SHORT_MS);
      await writeFile(join(disk, "large"), Buffer.alloc(220 * 1024));
      const text = `cidrLimit: 2\n${"# long\n".repeat(10_000)}`;
      await expect(writeFile(path, text)).rejects.toThrow("ENOSPC");
      await seen.reported("truncated: disk/config");
      await unlink(join(disk, "large"));
      await Bun.sleep(1.5 * SHORT_MS);
      expect(seen.texts).toEqual([]);
      expect(seen.isIncomplete).toBe(true);
      await writeFile(path, text);
      await seen.until(text);
      expect(seen.isIncomplete).toBe(false);
      expect(seen.reports).toEqual(["truncated: disk/config"]);
    } finally {
      seen.reader.stop();
      await output(["umount", "-l", disk]);
    }
  });
});

test("a directory is used when all of its files are complete", async () => {
  const directory = join(folder, "directory");
  await mkdir(directory);
  await writeFile(join(directory, "ip-masq-a"), "a1");
  await writeFile(join(directory, "ip-masq-b"), "b1");
  seen = await Seen.of(directory, SHORT_MS);
  const file = openSync(join(directory, "ip-masq-a"), "w");
  await Bun.sleep(50);
  await save(join(directory, "ip-masq-b"), "b2");
  await Bun.sleep(100);
  expect(seen.texts).toEqual([]);
  writeSync(file, "a2");
  closeSync(file);
  await seen.until("a2+b2");
  await unlink(join(directory, "ip-masq-b"));
  expect(await seen.until("a2")).toBeGreaterThan(SHORT_MS - 50);
  expect(seen.texts).toEqual(["a2+b2", "a2"]);
});

describe("a file system that hangs", () => {
  if (HangingFileSystem.missing) absent(HangingFileSystem.missing);
  else
    test("blocks one thread, and the last config stays in use", async () => {
      seen = await Seen.of(config, SHORT_MS);
      const hanging = await HangingFileSystem.mount(folder);
      try {
        expect(text(seen.reader)).toBe(OLD);
        const reads = Array.from({ length: 20 }, () => seen.reader.latest(5000));
        await Promise.all(reads);
        await seen.reported("hangs for 200 ms");
        expect(seen.reports).toEqual(["hangs for 200 ms"]);
        expect(text(seen.reader)).toBe(OLD);
        for (let i = 0; i < 20; i++) seen.reader.look();
        const began = performance.now();
        expect(await readFile("/proc/self/comm", "utf8")).not.toBe("");
        expect(performance.now() - began).toBeLessThan(1000);
      } finally {
        await hanging.release();
      }
      await save(config, "cidrLimit: 2\n");
      await seen.until("cidrLimit: 2\n");
      expect(seen.reports).toContain("answers");
    });
});
