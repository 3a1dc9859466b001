import { connect, type Socket } from "node:net";
import { AnswerError, readStatus } from "../inspect/agent-answer.ts";
import type { Status } from "../inspect/status.ts";
import type { Listen } from "../net/listen.ts";

/** From the request to the end of the answer. */
const ANSWER_MS = 3000;
/** Of the answer's head: status line and headers. */
const MOST_HEAD_BYTES = 16 * 1024;

/**
 * Asks the agent that serves HTTP at an address of this machine. Speaks to that address and to no proxy, whatever the
 * environment says; so not by `fetch`, which obeys HTTP_PROXY.
 *
 * @returns the agent's status; "nobody" if nothing listens there; and why the answer is of no use, if there is one
 */
export async function askOverHttp(
  { address, port }: Listen,
  patience = ANSWER_MS,
): Promise<Status | "nobody" | AnswerError> {
  const host = OWN_ADDRESS[address] ?? address;
  const socket = connect({ host, port });
  const deadline = setTimeout(
    () => socket.destroy(new AnswerError(`it did not end within ${patience / 1000} s`)),
    patience,
  );
  try {
    socket.write("GET /status HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    return await readStatus(body(socket));
  } catch (error) {
    if (error instanceof AnswerError) return error;
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return code === "ECONNREFUSED" || code === "EADDRNOTAVAIL" || code === "ENETUNREACH"
      ? "nobody"
      : new AnswerError(`it broke off: ${error instanceof Error ? error.message : error}`);
  } finally {
    clearTimeout(deadline);
    socket.destroy();
  }
}

/** Where to ask an agent that listens on all addresses. */
const OWN_ADDRESS: Readonly<Record<string, string>> = {
  "": "127.0.0.1",
  "0.0.0.0": "127.0.0.1",
  "::": "::1",
};

/** What follows the head of an HTTP answer, to the end of the connection. Throws AnswerError if it is not a 200. */
async function* body(socket: Socket): AsyncGenerator<Uint8Array> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of socket) {
    if (!head) {
      yield chunk;
      continue;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0 && head.length <= MOST_HEAD_BYTES) continue;
    if (end < 0 || !/^HTTP\/1\.[01] 200 /.test(head.toString("latin1", 0, 64)))
      throw new AnswerError("it is not an answer of ipmasq's HTTP server");
    yield head.subarray(end + 4);
    head = undefined;
  }
  if (head) throw new AnswerError("it is not an answer of ipmasq's HTTP server");
}
