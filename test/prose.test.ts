/**
 * Keeps out habits of writing that make readers stumble. A pattern may be wrong about a sentence: then rephrase the
 * sentence anyway, or narrow the pattern and give it a second example.
 */
import { expect, test } from "bun:test";
import { stat } from "node:fs/promises";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");

/** Files and folders that are checked. */
const CHECKED = [
  ".ci",
  ".github",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "README.md",
  "SECURITY.md",
  "bench",
  "container",
  "deploy",
  "docs",
  "lab",
  "scripts",
  "src",
  "test",
];

/** This file, which lists the words. */
const SKIPPED = ["test/prose.test.ts"];

interface Habit {
  readonly pattern: RegExp;
  /** A text in which the pattern finds the habit. */
  readonly bad: string;
  /** The same without the habit. */
  readonly good: string;
}

/** The start of a paragraph, a comment or a sentence. */
const START = String.raw`(?<=^|[.!?:;] |\n)`;
const BE = "(?:is|are|was|were)";

const HABITS: readonly Habit[] = [
  habit(/\b(?:who|which|what)(?:so)?ever\b/, "whoever holds the lock", "the lock holder"),
  habit(/\bnobody\b(?!["'\x60:])/, "a key that nobody knows", "an unknown key"),
  habit(/\bsome(?:body|one)\b/, "somebody changed our rules", "another program changed our rules"),
  habit(
    `(?<!\\bthere )\\b${BE} no (?!longer\\b|more than\\b|later than\\b)`,
    "x is no flag of run",
    "x is not a flag of run",
  ),
  habit(`(?<!\\bthere )\\b${BE} none\\b`, "an empty one is none", "an empty one does not count"),
  habit(/\bsuch that\b/, "such that it fits", "so that it fits"),
  habit(
    `\\b${BE} to be\\b|\\b(?:what|that|which|it|they|who) ${BE} to [a-z]`,
    "what is to keep its address",
    "kept connections",
  ),
  habit(/\bto be had\b/, "IPv6 is not to be had", "IPv6 is not available"),
  habit(/\bstrangers?\b|\brivals?\b|\bcompet(?:es?|ed|ing|itors?)\b/, "rules of strangers", "foreign rules"),
  habit(/\bfights?\b|\bfighting\b/, "agents that fight", "contested rules"),
  habit(/\bsake\b/, "accepted for klog's sake", "accepted for klog compatibility"),
  habit(/\bdraws? lots\b|\blots of\b/, "what draws lots", "random matches"),
  habit(/\bof which\b/, "a set of which all is known", "a set whose elements are all known"),
  habit(
    `\\b${BE} (?:told|said|asked) of\\b|\\btells? of\\b|\\b${BE} said\\b`,
    "it is told of changes",
    "it receives changes",
  ),
  habit(/\blook(?:s|ed|ing)? after\b/, "looks after its rules", "maintains its rules"),
  habit(/\bnothing else\b|\bnothing but\b/, "our rules, and nothing else", "only our rules"),
  habit(
    /\bno [\w-]+ but\b|\ball but (?!one\b)/,
    "with no capability but NET_ADMIN",
    "with only the capability NET_ADMIN",
  ),
  habit(/\bshall\b/, "connections that shall end", "connections to end"),
  habit(/\bt(?:akes?|ook|aken|aking) away\b/, "takes away its rules", "removes its rules"),
  habit(/\bgo(?:es)? on\b/, "connections that go on", "connections that continue"),
  habit(/\bbec(?:omes?|ame) of\b/, "what becomes of connections", "what happens to connections"),
  habit(
    /\bfor want of\b|\bin vain\b|\bsees? to it\b|\bby its having\b/,
    "skipped for want of nft",
    "skipped because nft is missing",
  ),
  habit(/\bmean(?:s|t)? no good\b|\bhardly\b|\bunasked\b/, "hardly meant", "probably a mistake"),
  habit(/\bmend(?:s|ed|ing)?\b|\bany more\b|\bupon\b/, "mends a table", "repairs a table"),
  habit(
    `, for (?:it|they|we|there|this|that|these|those) (?:${BE}|ha[sd]|have|does|do|would|may|can|must)\\b`,
    "slow, for it has to read all",
    "slow because it has to read all",
  ),
  habit(`\\b${BE} there\\b(?! ${BE}\\b)`, "rules that are there", "existing rules"),
  habit(
    /\bof [\w-]+'s(?= (?:or|in|is|are|that|with|by|at|for)\b|[.,;:)]|$)/,
    "a kernel of Debian's",
    "a Debian kernel",
  ),
  habit(/\bto blame\b|\bno reason (?:to|for)\b/, "the command that is to blame", "the failing command"),
  habit(/\bat the latest\b|\bin place of\b/, "read in place of a config", "read instead of a config"),
  habit(
    /\b(?:one behind|behind the (?:slash|dash|colon|prefix|hook|jump))\b/,
    "one behind kube-proxy",
    "after kube-proxy",
  ),
  habit(/\bstands? (?:there|in the)\b|\bas it stands\b/, "what stands in the file", "the file's content"),
  habit(
    /\b(?:than|by|of|with|to|from) what\b/,
    "compared with what was written",
    "compared with the desired rules",
  ),
  habit(/\bbut for\b|\bbe it\b|\bthe like\b|\bof theirs\b/, "sets, maps and the like", "sets and maps"),
  habit(`${START}Of [a-z]`, "Of several files, one true counts.", "If any file sets it, true counts."),
  habit(/\bof (?:ours|(?:its|their|your|our) own)\b/, "rules of ours", "our rules"),
  habit(/\ban own\b|\bother [a-z]+s than\b|\bin front of\b/, "a rule in front of ours", "a rule before ours"),
  habit(/\bas well\b(?! as)|\bwhether or not\b|\bknows? of\b/, "is in force as well", "is also in force"),
  habit(
    /\bas [a-z-]+ has it\b|\bin the moment\b|\bin case\b|\bhalf as much again\b/,
    "as JSON has it",
    "as in JSON",
  ),
  habit(
    /@param \w+ (?:of|for|by|in|from|how|why|when|without|as|that)\b/,
    "@param limits of each run",
    "@param limits the limits of each run",
  ),
  habit(/\bthe most [A-Za-z]+s that\b|\bThe most\b/, "The most rows", "The maximum number of rows"),
  habit(
    `${START}By (?!default|hand)[a-z]`,
    "By bisection, this finds the cause.",
    "It bisects to find the cause.",
  ),
  habit(
    /\b(?:throws|returns) what\b|\bwhat (?:is|was) (?:wrong|written|meant)\b/,
    "Throws what the calls throw",
    "Throws the errors of the calls",
  ),
  habit(/\ball the same\b/, "reads them all the same", "reads them nevertheless"),
  habit(/\bpiles? up\b|\bstands? behind\b/, "garbage piles up", "garbage accumulates"),
  habit(
    /\bwhat (?:(?:the|an?|this|that|our|its) )?[\w-]+ (?:has|have|lacks?|holds?|contains?|wrote|read)\b(?! been)/,
    "returns what the kernel lacks",
    "returns the missing rules",
  ),
  habit(`${START}Who(?:se)? [a-z][^?.\\n]*[.]`, "Who flushes it takes ours with it.", "Who flushes it?"),
  habit(`${START}What [^?.\\n]*[.]`, "What the kernel holds.", "The rules in the kernel. What now?"),
];

test.each(HABITS)("$pattern finds: $bad", ({ pattern, bad, good }) => {
  expect(found(bad, pattern)).toHaveLength(1);
  expect(found(good, pattern)).toEqual([]);
});

test("a habit is found across the lines of a comment, with its line", () => {
  const source = ["const a = 1;", "/**", " * Reads a set of", " * which all is known.", " */"].join("\n");
  expect(found(source, /\bof which\b/g)).toEqual([{ line: 3, text: "of which" }]);
});

test("the texts of the project are free of these habits", async () => {
  const stumbles: string[] = [];
  for (const file of await checkedFiles()) {
    const text = await Bun.file(join(ROOT, file)).text();
    // Names in a page may be old ones; in code, backticks hold messages.
    const source = file.endsWith(".md") ? text.replace(/`[^`\n]*`/g, name => "`".repeat(name.length)) : text;
    for (const { pattern, good } of HABITS) {
      for (const { line, text } of found(source, pattern)) {
        stumbles.push(`${file}:${line}: "${text.slice(0, 60)}"; write for example "${good}"`);
      }
    }
  }
  expect(stumbles).toEqual([]);
});

/** A habit; a pattern with a capital letter matches only that, every other one both cases. */
function habit(pattern: RegExp | string, bad: string, good: string): Habit {
  const source = typeof pattern === "string" ? pattern : pattern.source;
  return { pattern: new RegExp(source, /[A-Z]/.test(source) ? "g" : "gi"), bad, good };
}

/** Where a pattern matches, with comment markers and line breaks inside a paragraph read as one space. */
function found(source: string, pattern: RegExp): { readonly line: number; readonly text: string }[] {
  const { text, starts } = paragraphs(source);
  return [...text.matchAll(pattern)].map(match => ({
    line: starts.filter(start => start <= match.index).length,
    text: match[0].trim(),
  }));
}

/** A source with one paragraph, comment or line of code a line, and where each line of the source starts in it. */
function paragraphs(source: string): { readonly text: string; readonly starts: readonly number[] } {
  const starts: number[] = [];
  let text = "";
  let before = "end";
  for (const line of source.split("\n")) {
    const [, marker = "", words = ""] =
      /^\s*(\/\*\*?|\*\/|\*|\/\/|#+|[-|>])?\s*(.*?)(?:\s*\*\/)?$/.exec(line) ?? [];
    // The marker of the line before in a paragraph of comments, nothing in one of prose.
    const continues = words !== "" && before === marker && !/^[-|>]$/.test(marker);
    text += continues ? " " : "\n";
    starts.push(text.length);
    text += words;
    before =
      words === "" && marker !== "/**" ? "end" : marker === "/**" ? "*" : marker.replace(/^[-|>]$/, "");
  }
  return { text, starts };
}

async function checkedFiles(): Promise<string[]> {
  const files = await Promise.all(
    CHECKED.map(async path => {
      if (!(await stat(join(ROOT, path))).isDirectory()) return [path];
      const below = await Array.fromAsync(new Bun.Glob("**/*").scan({ cwd: join(ROOT, path), dot: true }));
      return below.filter(file => !/\.(?:json|svg|png)$/.test(file)).map(file => join(path, file));
    }),
  );
  return files
    .flat()
    .filter(file => !SKIPPED.some(it => file.startsWith(it)))
    .sort();
}
