import { connect, type Socket } from "node:net";
import * as v from "valibot";
import type { Listen } from "../net/listen.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import { AnswerError, readJson, readStatus } from "./agent-answer.ts";
import type { Status } from "./status.ts";

/** From the request to the end of the answer. */
const ANSWER_MS = 3000;
/** Of the answer's head: status line and headers. */
const MOST_HEAD_BYTES = 16 * 1024;

/**
 * Asks the agent that serves HTTP at an address of this machine, directly: `fetch` would obey HTTP_PROXY.
 *
 * @returns the agent's status; "nobody" if nothing listens there; or the reason why the answer is unusable
 */
export function askOverHttp(
  { address, port }: Listen,
  patience = ANSWER_MS,
): Promise<Status | "nobody" | AnswerError> {
  const host = OWN_ADDRESS[address] ?? address;
  return ask(connect({ host, port }), "/status", readStatus, patience);
}

/** As {@link askOverHttp}, but the agent that holds the node lock, by its Unix socket. */
export function askOverSocket(
  socket: string,
  patience = ANSWER_MS,
): Promise<Status | "nobody" | AnswerError> {
  return ask(connect({ path: socket }), "/status", readStatus, patience);
}

/** What an agent says of itself over the Unix socket. */
export const Identity = v.object({
  version: v.string(),
  /** When the agent started, in the form of ISO 8601. */
  since: v.string(),
});
export type Identity = v.InferOutput<typeof Identity>;

/** Asks the agent that holds the node lock who it is; for the result see {@link askOverHttp}. */
export function askIdentity(
  socket: string,
  patience = ANSWER_MS,
): Promise<Identity | "nobody" | AnswerError> {
  const read = (bytes: AsyncIterable<Uint8Array>) => readJson(bytes, Identity, MOST_HEAD_BYTES);
  return ask(connect({ path: socket }), "/agent", read, patience);
}

async function ask<Answer>(
  socket: Socket,
  path: string,
  read: (bytes: AsyncIterable<Uint8Array>) => Promise<Answer>,
  patience: number,
): Promise<Answer | "nobody" | AnswerError> {
  const deadline = setTimeout(
    () => socket.destroy(new AnswerError(`it did not end within ${patience / 1000} s`)),
    patience,
  );
  try {
    socket.write(`GET ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    return await read(body(socket));
  } catch (error) {
    if (error instanceof AnswerError) return error;
    return NOBODY.has(codeOf(error) ?? "")
      ? "nobody"
      : new AnswerError(`the connection broke off: ${messageOf(error)}`);
  } finally {
    clearTimeout(deadline);
    socket.destroy();
  }
}

/** Codes of errors if nothing listens, or this process may not connect. */
const NOBODY = new Set([
  "ECONNREFUSED",
  "EADDRNOTAVAIL",
  "ENETUNREACH",
  "ENOENT",
  "ENOTDIR",
  "EACCES",
  "EPERM",
]);

/** Where to ask an agent that listens on all addresses. */
const OWN_ADDRESS: Readonly<Record<string, string>> = {
  "": "127.0.0.1",
  "0.0.0.0": "127.0.0.1",
  "::": "::1",
};

/** The body of an HTTP answer: as long as its head states, or to the end of the connection. */
async function* body(socket: Socket): AsyncGenerator<Uint8Array> {
  let head = Buffer.alloc(0);
  let left: number | undefined;
  for await (const chunk of socket) {
    let part: Buffer = chunk;
    if (left === undefined) {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0 && head.length <= MOST_HEAD_BYTES) continue;
      left = lengthIn(head.toString("latin1", 0, Math.max(end, 0)));
      part = head.subarray(end + 4);
    }
    yield part.subarray(0, left);
    left -= part.length;
    if (left <= 0) return;
  }
  if (left === undefined) throw new AnswerError(NO_HTTP);
  if (Number.isFinite(left)) throw new AnswerError("the connection broke off");
}

const NO_HTTP = "it is not an answer of ipmasq's HTTP server";

/**
 * The length of the body from its head; infinite if not stated. Throws AnswerError if it is not an answer with a body.
 */
function lengthIn(head: string): number {
  if (!/^HTTP\/1\.[01] 200 /.test(head)) throw new AnswerError(NO_HTTP);
  const length = /^content-length: *(\d+) *$/im.exec(head)?.[1];
  return length === undefined ? Number.POSITIVE_INFINITY : Number(length);
}
