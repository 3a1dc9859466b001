import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { AnswerError, readStatus } from "../../src/inspect/agent-answer.ts";
import { askOverHttp } from "../../src/inspect/ask-agent.ts";
import { policyStatus, type Status } from "../../src/inspect/status.ts";
import { statusText } from "../../src/inspect/status-text.ts";
import { policy } from "../policies.ts";

const STATUS: Status = {
  from: "agent",
  version: "1.2.3",
  inSync: true,
  config: "/config",
  ...policyStatus(policy(), []),
  conflicts: [],
  problems: [],
};
const OK = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";

let server: Server;
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});

/** Asks a server that sends the given answer. */
async function asked(answer: (socket: Socket) => void, timeout?: number) {
  server = createServer(socket => {
    sockets.push(socket.on("error", () => {}));
    socket.once("data", () => answer(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return askOverHttp({ address: "127.0.0.1", port: address.port }, timeout);
}

test("a status is read in pieces of any size", async () => {
  const text = OK + JSON.stringify(STATUS);
  expect(await asked(socket => socket.end(text))).toEqual(STATUS);
  expect(
    await asked(async socket => {
      for (const character of text) {
        socket.write(character);
        await new Promise(setImmediate);
      }
      socket.end();
    }),
  ).toEqual(STATUS);
});

test("an answer ends at its Content-Length; a shorter one is refused", async () => {
  const json = JSON.stringify(STATUS);
  const withLength = (length: number) =>
    OK.replace("\r\n\r\n", `\r\nContent-Length: ${length}\r\n\r\n${json}`);
  expect(await asked(socket => socket.write(withLength(json.length)))).toEqual(STATUS);
  expect(`${await asked(socket => socket.end(withLength(json.length + 1)))}`).toContain(
    "the connection was lost",
  );
});

test("proxies in the environment are ignored", async () => {
  const saved = { ...process.env };
  Object.assign(process.env, { HTTP_PROXY: "http://127.0.0.1:1", http_proxy: "http://127.0.0.1:1" });
  try {
    expect(await asked(socket => socket.end(OK + JSON.stringify(STATUS)))).toEqual(STATUS);
  } finally {
    process.env.HTTP_PROXY = saved.HTTP_PROXY ?? "";
    process.env.http_proxy = saved.http_proxy ?? "";
  }
});

test("an agent that does not listen is unreachable", async () => {
  const answer = await asked(socket => socket.end());
  expect(answer).toBeInstanceOf(AnswerError);
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  server.close();
  expect(await askOverHttp({ address: "127.0.0.1", port: address.port })).toBe("unreachable");
});

test.each([
  ["says nothing at all", "", "it closed the connection without an answer"],
  ["speaks something else", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "it is not an HTTP response of ipmasq"],
  ["knows no status", "HTTP/1.1 404 Not Found\r\n\r\n{}", "it is not an HTTP response of ipmasq"],
  [
    "has a head without an end",
    `HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(5000)}`,
    "it is not an HTTP response of",
  ],
  ["answers with a page", `${OK}<html>`, "it is not JSON"],
  ["answers with other JSON", `${OK}{"inSync":true}`, "it is not a status: from: "],
])("a server that %s is not an agent", async (_what, text, why) => {
  const answer = await asked(socket => socket.end(text));
  expect(answer).toBeInstanceOf(AnswerError);
  expect(`${answer}`).toContain(why);
});

test("an answer that does not end is refused at the deadline", async () => {
  const began = performance.now();
  const answer = await asked(socket => {
    socket.write(OK);
    const trickle = setInterval(() => socket.write(" "), 10);
    socket.on("close", () => clearInterval(trickle));
  }, 200);
  expect(`${answer}`).toContain("it was not complete within 0.2 s");
  expect(performance.now() - began).toBeWithin(190, 2000);
});

test("an endless answer is read up to the limit", async () => {
  let read = 0;
  async function* endless() {
    for (;;) {
      read += 1000;
      yield Buffer.alloc(1000, "[");
    }
  }
  expect(readStatus(endless(), 100_000)).rejects.toThrow("it is longer than 100000 bytes");
  await Promise.resolve();
  expect(read).toBeLessThanOrEqual(101_000);
});

test("the texts of an answer reach a terminal without control characters", async () => {
  const evil = "\x1b[2J\x9b31m\u202e";
  const answer = await asked(socket =>
    socket.end(OK + JSON.stringify({ ...STATUS, version: evil, config: evil, problems: [evil], why: evil })),
  );
  if (answer === "unreachable" || answer instanceof Error) throw new Error(`${answer}`);
  expect(answer.config).toBe(evil);
  expect(statusText(answer).join("")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});
