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

/** Asks a server that answers as it is told. */
async function asked(answer: (socket: Socket) => void, patience?: number) {
  server = createServer(socket => {
    sockets.push(socket.on("error", () => {}));
    socket.once("data", () => answer(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return askOverHttp({ address: "127.0.0.1", port: address.port }, patience);
}

test("an agent's status is taken, in whatever pieces it comes", async () => {
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

test("an answer ends where it says, and one that ends before is none", async () => {
  const json = JSON.stringify(STATUS);
  const withLength = (length: number) =>
    OK.replace("\r\n\r\n", `\r\nContent-Length: ${length}\r\n\r\n${json}`);
  expect(await asked(socket => socket.write(withLength(json.length)))).toEqual(STATUS);
  expect(`${await asked(socket => socket.end(withLength(json.length + 1)))}`).toContain(
    "the connection broke off",
  );
});

test("no proxy is asked, whatever the environment says", async () => {
  const saved = { ...process.env };
  Object.assign(process.env, { HTTP_PROXY: "http://127.0.0.1:1", http_proxy: "http://127.0.0.1:1" });
  try {
    expect(await asked(socket => socket.end(OK + JSON.stringify(STATUS)))).toEqual(STATUS);
  } finally {
    process.env.HTTP_PROXY = saved.HTTP_PROXY ?? "";
    process.env.http_proxy = saved.http_proxy ?? "";
  }
});

test("where nobody listens there is nobody", async () => {
  const answer = await asked(socket => socket.end());
  expect(answer).toBeInstanceOf(AnswerError);
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  server.close();
  expect(await askOverHttp({ address: "127.0.0.1", port: address.port })).toBe("nobody");
});

test.each([
  ["says nothing at all", "", "it is not an answer of ipmasq's HTTP server"],
  ["speaks something else", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "it is not an answer of ipmasq's HTTP server"],
  ["knows no status", "HTTP/1.1 404 Not Found\r\n\r\n{}", "it is not an answer of ipmasq's HTTP server"],
  ["has a head without an end", `HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(5000)}`, "it is not an answer of"],
  ["answers with a page", `${OK}<html>`, "it is not JSON"],
  ["answers with other JSON", `${OK}{"inSync":true}`, "it is not a status: from: "],
])("what %s is no agent", async (_what, text, why) => {
  const answer = await asked(socket => socket.end(text));
  expect(answer).toBeInstanceOf(AnswerError);
  expect(`${answer}`).toContain(why);
});

test("an answer that does not end is waited for no longer than its deadline", async () => {
  const began = performance.now();
  const answer = await asked(socket => {
    socket.write(OK);
    const trickle = setInterval(() => socket.write(" "), 10);
    socket.on("close", () => clearInterval(trickle));
  }, 200);
  expect(`${answer}`).toContain("it did not end within 0.2 s");
  expect(performance.now() - began).toBeWithin(190, 2000);
});

test("an answer without an end is read no further than its limit", async () => {
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

test("no text of an answer reaches a terminal as it is", async () => {
  const evil = "\x1b[2J\x9b31m\u202e";
  const answer = await asked(socket =>
    socket.end(OK + JSON.stringify({ ...STATUS, version: evil, config: evil, problems: [evil], why: evil })),
  );
  if (answer === "nobody" || answer instanceof Error) throw new Error(`${answer}`);
  expect(answer.config).toBe(evil);
  expect(statusText(answer).join("")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});
