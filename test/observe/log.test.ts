import { expect, test } from "bun:test";
import { createLog, type Log } from "../../src/observe/log.ts";

function lines(level: keyof Log, format: "text" | "json", write: (log: Log) => void): string[] {
  const written: string[] = [];
  write(
    createLog(level, format, line =>
      written.push(line.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/, "TIME")),
    ),
  );
  return written;
}

const events = (log: Log) => {
  log.error("sync failed", { error: 'nft: "x"\ny', retry: "1s" });
  log.warn("odd", { empty: "", none: undefined });
  log.info("rules applied", { added: 3, removed: 0, set: "a=b", ok: true });
  log.debug("read");
};

test("text: one line per event, with quotes around values that contain spaces", () => {
  expect(lines("debug", "text", events)).toEqual([
    'TIME ERROR sync failed error="nft: \\"x\\"\\ny" retry=1s\n',
    'TIME WARN  odd empty=""\n',
    'TIME INFO  rules applied added=3 removed=0 set="a=b" ok=true\n',
    "TIME DEBUG read\n",
  ]);
});

test("JSON: one object per line", () => {
  expect(lines("debug", "json", events)).toEqual([
    '{"time":"TIME","level":"error","message":"sync failed","error":"nft: \\"x\\"\\ny","retry":"1s"}\n',
    '{"time":"TIME","level":"warn","message":"odd","empty":""}\n',
    '{"time":"TIME","level":"info","message":"rules applied","added":3,"removed":0,"set":"a=b","ok":true}\n',
    '{"time":"TIME","level":"debug","message":"read"}\n',
  ]);
});

test("control characters are escaped, in text and in JSON", () => {
  const evil = (log: Log) => log.warn("odd \x1b[2J", { by: "nft\u202e", error: "a\x9b31mb" });
  expect(lines("info", "text", evil)).toEqual([
    "TIME WARN  odd \\u{1b}[2J by=nft\\u{202e} error=a\\u{9b}31mb\n",
  ]);
  expect(lines("info", "json", evil)).toEqual([
    '{"time":"TIME","level":"warn","message":"odd \\u001b[2J","by":"nft\\u202e","error":"a\\u009b31mb"}\n',
  ]);
});

test.each([
  ["error", 1],
  ["warn", 2],
  ["info", 3],
  ["debug", 4],
] as const)("level %s shows %d of the events", (level, count) => {
  expect(lines(level, "text", events)).toHaveLength(count);
});
