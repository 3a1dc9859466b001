import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { ConfigWatch } from "../../src/agent/config-watch.ts";

let top: string;
let config: string;
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), "config-watch-"));
  config = join(top, "config/ip-masq-agent");
});
afterEach(() => rm(top, { recursive: true }));

/** Ways to change a config: how the files are prepared, and steps that must each be reported. */
const cases: Record<string, { before: string[]; steps: string[][] }> = {
  "a plain write": {
    before: ["mkdir config", "write config/ip-masq-agent"],
    steps: [["write config/ip-masq-agent"]],
  },
  "an editor's rename": {
    before: ["mkdir config", "write config/ip-masq-agent", "write config/new"],
    steps: [["rename config/new config/ip-masq-agent"]],
  },
  "a file that is created and removed": {
    before: ["mkdir config"],
    steps: [["write config/ip-masq-agent"], ["rm config/ip-masq-agent"], ["write config/ip-masq-agent"]],
  },
  "a directory that is created late, removed, and created again": {
    before: [],
    steps: [
      ["mkdir config", "write config/ip-masq-agent"],
      ["write config/ip-masq-agent"],
      ["rm config"],
      ["mkdir config", "write config/ip-masq-agent"],
      ["write config/ip-masq-agent"],
    ],
  },
  "kubelet's swap of ..data": {
    before: [
      "mkdir config",
      "mkdir config/..1",
      "write config/..1/ip-masq-agent",
      "link ..1 config/..data",
      "link ..data/ip-masq-agent config/ip-masq-agent",
    ],
    steps: [
      [
        "mkdir config/..2",
        "write config/..2/ip-masq-agent",
        "link ..2 config/..new",
        "rename config/..new config/..data",
      ],
      [
        "mkdir config/..3",
        "write config/..3/ip-masq-agent",
        "link ..3 config/..new",
        "rename config/..new config/..data",
      ],
    ],
  },
  "a write through a symbolic link into another directory": {
    before: ["mkdir config", "mkdir other", "write other/file", "link ../other/file config/ip-masq-agent"],
    steps: [["write other/file"], ["write other/new", "rename other/new other/file"], ["write other/file"]],
  },
  "a directory of configs": {
    before: ["mkdir config", "mkdir config/ip-masq-agent"],
    steps: [
      ["write config/ip-masq-agent/ip-masq-1"],
      ["write config/ip-masq-agent/ip-masq-1"],
      ["rm config/ip-masq-agent/ip-masq-1"],
    ],
  },
  "a link in a directory of configs": {
    before: [
      "mkdir config",
      "mkdir config/ip-masq-agent",
      "write file",
      "link ../../file config/ip-masq-agent/ip-masq-1",
    ],
    steps: [["write file"], ["write file"]],
  },
};

test.each(Object.entries(cases))("reports %s", async (_name, { before, steps }) => {
  for (const step of before) await perform(step);
  const changes = new Changes();
  const watch = new ConfigWatch(
    config,
    () => {
      changes.add();
      void watch.follow();
    },
    reason => expect(reason).toBe(""),
  );
  expect(await watch.follow()).toBe(true);
  expect(await watch.follow()).toBe(false);
  await changes.quiet();
  for (const step of steps) {
    const seen = changes.next();
    for (const action of step) await perform(action);
    await seen;
    await changes.quiet();
  }
  watch.stop();
});

test("watches a mounted directory after the next look", async () => {
  await perform("mkdir config");
  const changes = new Changes();
  const watch = new ConfigWatch(
    config,
    () => changes.add(),
    reason => expect(reason).toBe(""),
  );
  await watch.follow();
  for (let i = 0; i < 2; i++) {
    await output(["mount", "-t", "tmpfs", "tmpfs", join(top, "config")]);
    expect(await watch.follow()).toBe(true);
    await changes.quiet();
    const seen = changes.next();
    await perform("write config/ip-masq-agent");
    await seen;
  }
  watch.stop();
  for (let i = 0; i < 2; i++) await output(["umount", join(top, "config")]);
});

test("ignores other files beside the config", async () => {
  await perform("mkdir config");
  await perform("write config/ip-masq-agent");
  let changes = 0;
  const watch = new ConfigWatch(
    config,
    () => changes++,
    reason => expect(reason).toBe(""),
  );
  await watch.follow();
  for (let i = 0; i < 5; i++) await perform("write config/other");
  await perform("mkdir elsewhere");
  await Bun.sleep(100);
  expect(changes).toBe(0);
  watch.stop();
});

test("stops at links that form a circle", async () => {
  await perform("mkdir config");
  await perform("link ip-masq-agent config/ip-masq-agent");
  const watch = new ConfigWatch(
    config,
    () => {},
    reason => expect(reason).toBe(""),
  );
  await watch.follow();
  watch.stop();
});

class Changes {
  #last = performance.now();
  #waiting = Promise.withResolvers<void>();

  add(): void {
    this.#last = performance.now();
    this.#waiting.resolve();
  }

  next(): Promise<void> {
    this.#waiting = Promise.withResolvers<void>();
    return this.#waiting.promise;
  }

  /** Resolves after 30 ms without a change. */
  async quiet(): Promise<void> {
    this.#last = performance.now();
    while (performance.now() - this.#last < 30) await Bun.sleep(5);
  }
}

async function perform(action: string): Promise<void> {
  const [verb, first = "", second = ""] = action.split(" ");
  const path = join(top, first);
  if (verb === "mkdir") await mkdir(path);
  if (verb === "write") await writeFile(path, `# ${Math.random()}\n`);
  if (verb === "rename") await rename(path, join(top, second));
  if (verb === "link") await symlink(first, join(top, second));
  if (verb === "rm") await rm(path, { recursive: true });
}
