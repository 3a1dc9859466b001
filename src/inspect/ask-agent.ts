import { connect, type Socket } from "node:net";
import * as v from "valibot";
import type { Listen } from "../net/listen.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import { AnswerError, readJson, readStatus } from "./agent-answer.ts";
import { PolicyAnswer } from "./policy-json.ts";
import type { Status } from "./status.ts";

/** Limits the time from the request to the end of the answer. */
const ANSWER_MS = 3000;
/** Limits the status line and headers of an answer. */
const MOST_HEAD_BYTES = 16 * 1024;

/**
 * Asks the agent that serves HTTP at an address of this machine. Ignores HTTP_PROXY, unlike `fetch`.
 *
 * @param timeout the time for the whole answer, in milliseconds
 * @returns the status of the agent; "unreachable" if nothing listens there; the reason if the answer is unusable
 */
export function askOverHttp(
  { address, port }: Listen,
  timeout = ANSWER_MS,
): Promise<Status | "unreachable" | AnswerError> {
  const host = OWN_ADDRESS[address] ?? address;
  return ask(connect({ host, port }), "/status", readStatus, timeout);
}

/** Like {@link askOverHttp}, for the agent that holds the node lock, through its Unix socket. */
export function askOverSocket(
  socket: string,
  timeout = ANSWER_MS,
): Promise<Status | "unreachable" | AnswerError> {
  return ask(connect({ path: socket }), "/status", readStatus, timeout);
}

/** The identity of an agent, as it sends it through its Unix socket. */
export const Identity = v.object({
  version: v.string(),
  /** When the agent started, as in ISO 8601. */
  since: v.string(),
  /** The agent's backend; undefined until it is chosen. */
  backend: v.optional(v.string()),
  /** The program that the backend writes with. */
  writer: v.optional(v.string()),
  /** Whether the backend replaces a preferred backend that fails. */
  fallback: v.optional(v.boolean()),
});
export type Identity = v.InferOutput<typeof Identity>;

/** Asks the agent that holds the node lock for its identity. Returns the same as {@link askOverHttp}. */
export function askIdentity(
  socket: string,
  timeout = ANSWER_MS,
): Promise<Identity | "unreachable" | AnswerError> {
  const read = (bytes: AsyncIterable<Uint8Array>) => readJson(bytes, Identity, MOST_HEAD_BYTES);
  return ask(connect({ path: socket }), "/agent", read, timeout);
}

/** Asks the agent that holds the node lock for its policy. Returns the same as {@link askOverHttp}. */
export function askPolicy(
  socket: string,
  timeout = ANSWER_MS,
): Promise<PolicyAnswer | "unreachable" | AnswerError> {
  return ask(connect({ path: socket }), "/policy", bytes => readJson(bytes, PolicyAnswer), timeout);
}

async function ask<Answer>(
  socket: Socket,
  path: string,
  read: (bytes: AsyncIterable<Uint8Array>) => Promise<Answer>,
  timeout: number,
): Promise<Answer | "unreachable" | AnswerError> {
  const deadline = setTimeout(
    () => socket.destroy(new AnswerError(`it was not complete within ${timeout / 1000} s`)),
    timeout,
  );
  try {
    socket.write(`GET ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    return await read(body(socket));
  } catch (error) {
    if (error instanceof AnswerError) return error;
    return UNREACHABLE.has(codeOf(error) ?? "")
      ? "unreachable"
      : new AnswerError(`the connection was lost: ${messageOf(error)}`);
  } finally {
    clearTimeout(deadline);
    socket.destroy();
  }
}

/** Error codes if nothing listens, or if this process may not connect. */
const UNREACHABLE = new Set([
  "ECONNREFUSED",
  "EADDRNOTAVAIL",
  "ENETUNREACH",
  "ENOENT",
  "ENOTDIR",
  "EACCES",
  "EPERM",
]);

/** The address to ask if the agent listens on all addresses. */
const OWN_ADDRESS: Readonly<Record<string, string>> = {
  "": "127.0.0.1",
  "0.0.0.0": "127.0.0.1",
  "::": "::1",
};

/** Yields the body of an HTTP answer, up to its Content-Length or to the end of the connection. */
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
  if (left === undefined)
    throw new AnswerError(head.length === 0 ? "it closed the connection without an answer" : NO_HTTP);
  if (Number.isFinite(left)) throw new AnswerError("the connection was lost");
}

const NO_HTTP = "it is not an HTTP response of ipmasq";

/** Returns the Content-Length, or infinity without this header. Throws AnswerError unless the answer has a body. */
function lengthIn(head: string): number {
  if (!/^HTTP\/1\.[01] 200 /.test(head)) throw new AnswerError(NO_HTTP);
  const length = /^content-length: *(\d+) *$/im.exec(head)?.[1];
  return length === undefined ? Number.POSITIVE_INFINITY : Number(length);
}
