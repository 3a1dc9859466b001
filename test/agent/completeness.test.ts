import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  Completeness,
  type Observation,
  type Writers,
  type WriteState,
} from "../../src/agent/completeness.ts";

const QUIET = 5000;
const OLD = "old";
const PATH = "/c/config";

/** The processes that the agent can see. */
type Sight = "all" | "own" | "none";

/** An action of a program, and its time in milliseconds. Pieces are bytes of the new config. */
type Step =
  | { at: number; do: "open" | "create"; truncate: boolean }
  | { at: number; do: "write"; piece: string; offset: number }
  | { at: number; do: "close" | "unlink" | "away" | "rename" | "swap" | "full" | "room" };

interface Inode {
  readonly number: number;
  content: string;
  modified: number;
  changed: number;
  writers: number;
}

/** A path on a file system with a clock tick of 4 ms, and an inotify that reports up to 15 ms late. */
class World {
  now = 1_000_000;
  readonly #steps: Step[];
  #file: Inode | undefined = { number: 1, content: OLD, modified: 0, changed: 0, writers: 0 };
  #open: Inode | undefined;
  #inodes = 1;
  real = PATH;
  full = false;
  readonly events: { at: number; kind: "rename" | "change" }[] = [];

  constructor(
    steps: readonly Step[],
    readonly wholeNew: string,
    readonly delays: readonly number[],
  ) {
    this.#steps = steps.map(step => ({ ...step, at: this.now + step.at }));
  }

  /** Time of the next action or report. */
  get next(): number {
    return Math.min(this.#steps[0]?.at ?? Number.POSITIVE_INFINITY, ...this.events.map(({ at }) => at));
  }

  /** Lets time pass. Returns the reports of inotify. */
  advance(to: number): ("rename" | "change")[] {
    while (this.#steps[0] && this.#steps[0].at <= to) {
      const step = this.#steps.shift();
      if (!step) break;
      this.now = step.at;
      this.#perform(step);
    }
    this.now = to;
    const due = this.events.filter(({ at }) => at <= to);
    this.events.splice(0, due.length);
    return due.map(({ kind }) => kind);
  }

  get #tick(): number {
    return Math.floor(this.now / 4) * 4;
  }

  #report(kind: "rename" | "change"): void {
    const delay = this.delays[this.now % this.delays.length] ?? 0;
    // Reports keep their order, because they come from one queue.
    this.events.push({ at: Math.max(this.now + delay, this.events.at(-1)?.at ?? 0), kind });
  }

  #new(content: string): Inode {
    return {
      number: ++this.#inodes,
      content,
      modified: this.#tick,
      changed: this.#tick,
      writers: 0,
    };
  }

  #perform(step: Step): void {
    const touch = (file: Inode) => {
      file.modified = this.#tick;
      file.changed = this.#tick;
      if (file === this.#file) this.#report("change");
    };
    if (step.do === "open" || step.do === "create") {
      if (!this.#file) {
        this.#file = this.#new("");
        this.#report("rename");
      } else if (step.truncate) {
        this.#file.content = "";
        touch(this.#file);
      }
      this.#open = this.#file;
      this.#open.writers++;
    }
    if (step.do === "write" && this.#open && !this.full) {
      const { content } = this.#open;
      this.#open.content =
        content.slice(0, step.offset) + step.piece + content.slice(step.offset + step.piece.length);
      touch(this.#open);
    }
    if (step.do === "close" && this.#open) {
      this.#open.writers--;
      this.#open = undefined;
    }
    if (step.do === "unlink" || step.do === "away") {
      this.#file = undefined;
      this.#report("rename");
    }
    if (step.do === "rename") {
      this.#file = { ...this.#new(this.wholeNew), changed: this.#tick };
      this.#report("rename");
    }
    if (step.do === "swap") {
      this.#file = this.#new(this.wholeNew);
      this.real = `/c/..${this.#inodes}/config`;
      this.#report("rename");
    }
    if (step.do === "full") this.full = true;
    if (step.do === "room") this.full = false;
  }

  look(): Observation & { content: string } {
    const file = this.#file;
    if (!file) return { files: [], problems: [], absent: [{ path: PATH, real: this.real }], content: "" };
    const seen = {
      path: PATH,
      own: PATH,
      real: this.real,
      identity: `${file.number}`,
      modified: `${file.content.length}:${file.modified}`,
      changed: BigInt(file.changed),
      renamedLater: file.modified < file.changed,
      digest: file.content,
      empty: file.content === "",
      recent: this.now - file.changed < QUIET,
    };
    return { files: [seen], problems: [], absent: [], content: file.content };
  }

  writeState(sight: Sight): WriteState {
    const open = (this.#file?.writers ?? 0) > 0;
    const writers: Record<Sight, Writers> = {
      all: open ? "open" : "none",
      own: open ? "open" : "unknown",
      none: "unknown",
    };
    return { writers: writers[sight], full: this.full };
  }
}

/** Looks at a world as ConfigReader does. Returns the configs that would be used, and when. */
function applied(world: World, sight: Sight, start: "before" | "meanwhile", lookTime: number, quiet = QUIET) {
  const completeness = new Completeness(quiet);
  const policies: { content: string; at: number }[] = [];
  const pass = (to: number) => {
    for (const kind of world.advance(to)) completeness.event(world.real, kind);
  };
  const assess = (writeState: ReadonlyMap<string, WriteState>) => {
    const events = completeness.events;
    const look = world.look();
    const assessment = completeness.assess(look, world.now, events, writeState);
    if (assessment.complete && policies.at(-1)?.content !== look.content) {
      policies.push({ content: look.content, at: world.now });
    }
    return assessment;
  };
  if (start === "meanwhile") pass(world.now + 100);
  const end = world.now + 120_000;
  while (world.now < end) {
    let assessment = assess(new Map());
    let poll = Number.POSITIVE_INFINITY;
    if (!assessment.complete && assessment.uncertain.length > 0) {
      const writeState = world.writeState(sight);
      if (writeState.writers === "open") poll = 50;
      pass(world.now + lookTime);
      assessment = assess(new Map([[world.real, writeState]]));
    }
    const wait = assessment.complete ? 60_000 : Math.min(assessment.wait, poll);
    pass(Math.min(world.now + Math.max(wait, 1), Math.max(world.next, world.now + 1)));
  }
  return policies;
}

const newConfig = fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom("a", "b", "c") });
const pauses = fc.array(fc.oneof(fc.integer({ min: 0, max: 10 }), fc.integer({ min: 0, max: 4000 })), {
  minLength: 15,
  maxLength: 15,
});
const delays = fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 1, maxLength: 5 });
const world = fc.record({ text: newConfig, pauses, delays, lookTime: fc.integer({ min: 0, max: 8 }) });

/** Writes a text in pieces with pauses, starting at a time. */
function writes(text: string, waits: readonly number[], from: number): Step[] {
  const steps: Step[] = [];
  let at = from;
  let offset = 0;
  for (const wait of waits) {
    const piece = text.slice(offset, offset + 1 + (wait % 3));
    if (piece === "") break;
    at += wait;
    steps.push({ at, do: "write", piece, offset });
    offset += piece.length;
  }
  if (offset < text.length) steps.push({ at: at + 1, do: "write", piece: text.slice(offset), offset });
  return steps;
}

function last(steps: readonly Step[]): number {
  return steps.at(-1)?.at ?? 0;
}

/** Ways in which programs write a config in place. */
const WAYS: Readonly<Record<string, (text: string, waits: readonly number[]) => Step[]>> = {
  "truncated, then written": (text, waits) => {
    const written = writes(text, waits, 10);
    return [{ at: 10, do: "open", truncate: true }, ...written, { at: last(written) + 3, do: "close" }];
  },
  "removed, then created": (text, waits) => {
    const written = writes(text, waits, 20);
    return [
      { at: 10, do: "unlink" },
      { at: 10 + (waits[0] ?? 0), do: "create", truncate: true },
      ...written.map(step => ({ ...step, at: step.at + (waits[0] ?? 0) })),
      { at: last(written) + (waits[0] ?? 0) + 3, do: "close" },
    ];
  },
  "moved to a backup, then created": (text, waits) => {
    const written = writes(text, waits, 12);
    return [
      { at: 10, do: "away" },
      { at: 12, do: "create", truncate: true },
      ...written,
      { at: last(written) + 3, do: "close" },
    ];
  },
};
const FAST: Readonly<Record<string, Step[]>> = {
  "renamed to the path": [{ at: 10, do: "rename" }],
  "swapped by kubelet": [{ at: 10, do: "swap" }],
};

describe.each(["all", "own", "none"] as const)("if the agent sees these other processes: %s", sight => {
  test.each(Object.entries(WAYS))("a config that is %s is used only when it is complete", (_name, way) => {
    fc.assert(
      fc.property(world, ({ text, pauses, delays, lookTime }) => {
        const steps = way(text, pauses);
        const policies = applied(new World(steps, text, delays), sight, "before", lookTime);
        expect(policies.map(({ content }) => content)).toEqual([OLD, text]);
        const late = (policies.at(-1)?.at ?? 0) - 1_000_000 - last(steps);
        expect(late).toBeLessThanOrEqual(sight === "all" ? 200 : QUIET + 200);
      }),
      { numRuns: 200 },
    );
  });

  test("a config that is overwritten without truncation is used only when it is complete", () => {
    const even = newConfig.map(text => text.padEnd(OLD.length, "."));
    fc.assert(
      fc.property(even, world, (text, { pauses, delays, lookTime }) => {
        const written = writes(text, pauses, 10);
        const steps: Step[] = [
          { at: 10, do: "open", truncate: false },
          ...written,
          { at: last(written) + 3, do: "close" },
        ];
        const policies = applied(new World(steps, text, delays), sight, "before", lookTime);
        expect(policies.map(({ content }) => content)).toEqual([OLD, text]);
      }),
      { numRuns: 200 },
    );
  });

  test.each(Object.entries(FAST))("a config that is %s is used at once", (_name, steps) => {
    fc.assert(
      fc.property(world, ({ text, delays, lookTime }) => {
        const policies = applied(new World(steps, text, delays), sight, "before", lookTime);
        expect(policies.map(({ content }) => content)).toEqual([OLD, text]);
        expect((policies.at(-1)?.at ?? 0) - 1_000_010).toBeLessThanOrEqual(15 + 20 + 1 + lookTime);
      }),
      { numRuns: 100 },
    );
  });

  test("a config that is truncated by a full disk is used only after it is written again", () => {
    fc.assert(
      fc.property(world, fc.nat(5), fc.boolean(), ({ text, pauses, delays, lookTime }, fullAt, again) => {
        const written = writes(text.padEnd(8, "x"), pauses, 10);
        const full: Step = { at: written[Math.min(fullAt, written.length - 1)]?.at ?? 0, do: "full" };
        const steps: Step[] = [{ at: 10, do: "open", truncate: true }, ...written];
        steps.splice(
          steps.findIndex(step => step.at >= full.at && step.do === "write"),
          0,
          full,
        );
        steps.push({ at: last(steps) + 3, do: "close" }, { at: last(steps) + 10_000, do: "room" });
        const whole = text.padEnd(8, "x");
        if (again) {
          const at = last(steps);
          steps.push({ at: at + 10, do: "open", truncate: true });
          steps.push({ at: at + 20, do: "write", piece: whole, offset: 0 }, { at: at + 30, do: "close" });
        }
        const policies = applied(new World(steps, whole, delays), sight, "before", lookTime);
        expect(policies.map(({ content }) => content)).toEqual(again ? [OLD, whole] : [OLD]);
      }),
      { numRuns: 100 },
    );
  });
});

test("control: a shorter quiet time for invisible writers fails", () => {
  const { failed } = fc.check(
    fc.property(world, ({ text, pauses, delays, lookTime }) => {
      const steps = WAYS["truncated, then written"]?.(text, pauses) ?? [];
      const policies = applied(new World(steps, text, delays), "none", "before", lookTime, 2000);
      return policies.length === 2;
    }),
    { numRuns: 1000 },
  );
  expect(failed).toBe(true);
});

test.each(["all", "own"] as const)(
  "a config with a visible writer at start is used when it is complete, seeing %s",
  sight => {
    fc.assert(
      fc.property(world, ({ text, pauses, delays, lookTime }) => {
        const written = writes(text, pauses, 50);
        const steps: Step[] = [
          { at: 50, do: "open", truncate: true },
          ...written,
          { at: Math.max(last(written), 100) + 3, do: "close" },
        ];
        const policies = applied(new World(steps, text, delays), sight, "meanwhile", lookTime);
        expect(policies.map(({ content }) => content)).toEqual([text]);
      }),
      { numRuns: 200 },
    );
  },
);

test("a start without writers does not wait", () => {
  const policies = applied(new World([{ at: 50, do: "rename" }], "new", [0]), "none", "meanwhile", 0);
  expect(policies).toEqual([{ content: "new", at: 1_000_100 }]);
});

test("a config whose writer never closes it is used after the quiet time", () => {
  const steps: Step[] = [
    { at: 10, do: "open", truncate: true },
    { at: 20, do: "write", piece: "new", offset: 0 },
  ];
  const [, policy] = applied(new World(steps, "new", [0]), "all", "before", 0);
  expect(policy?.content).toBe("new");
  expect((policy?.at ?? 0) - 1_000_020).toBeWithin(QUIET, QUIET + 100);
});
