/** A valid request. */
export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
}

/** Why a request is refused. */
export interface Refusal {
  readonly status: 400 | 413 | 431 | 505;
  readonly why: string;
}

/**
 * The maximum length of a request's head, in bytes. RFC 9110 leaves the limit to the server; most servers allow 8 KiB.
 */
export const MOST_HEAD_BYTES = 8192;

/**
 * Parses the data that a client has sent so far, strictly by RFC 9112. It requires a request line and headers that end
 * with CRLF, one Host, and no body. Ignores data after the head, because a connection carries one request.
 *
 * @returns undefined while the head is incomplete
 */
export function parseRequest(bytes: Buffer): HttpRequest | Refusal | undefined {
  const text = bytes.toString("latin1").replace(/^(?:\r\n)+/, "");
  const end = text.indexOf("\r\n\r\n");
  if (end < 0 || end > MOST_HEAD_BYTES) {
    if (bytes.length > MOST_HEAD_BYTES)
      return { status: 431, why: `request head exceeds ${MOST_HEAD_BYTES} bytes` };
    return isHopeless(text) ? { status: 400, why: "not an HTTP request" } : undefined;
  }
  const [requestLine = "", ...lines] = text.slice(0, end).split("\r\n");
  const [, method, target, version] = REQUEST_LINE.exec(requestLine) ?? [];
  if (method === undefined || target === undefined || version === undefined)
    return { status: 400, why: "invalid request line" };
  if (!version.startsWith("1.")) return { status: 505, why: "only HTTP/1.0 and 1.1 are supported" };
  const path = PATH.exec(target)?.[1];
  if (path === undefined) return { status: 400, why: "invalid path" };
  return refusedHeaders(lines, method, version) ?? { method, path: path === "" ? "/" : path };
}

/** RFC 9112, section 3: the target has neither spaces nor control characters. */
const REQUEST_LINE = /^([!#$%&'*+.^_`|~\w-]+) ([\x21-\x7e]+) HTTP\/(\d\.\d)$/;
/** The path of a target in origin-form or absolute-form, RFC 9112, section 3.2. */
const PATH = /^(?:http:\/\/[\w.:[\]-]+)?((?<=\w|\])(?=$|\?)|\/[^?#]*)(?:\?[^#]*)?$/i;
/** RFC 9110, section 5: a name is a token; a tab is the only control character in a value. */
const HEADER = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;
/** RFC 9110, section 7.2: DNS names, with the underscores that Docker allows. */
const HOST = /^(?:[\w.-]*|\[[\da-f:.]+\])(?::\d{0,5})?$/i;

function refusedHeaders(lines: readonly string[], method: string, version: string): Refusal | undefined {
  const hosts: string[] = [];
  let body = false;
  for (const line of lines) {
    const [, name, value = ""] = HEADER.exec(line) ?? [];
    if (name === undefined) return { status: 400, why: "invalid header" };
    const lower = name.toLowerCase();
    if (lower === "host") hosts.push(value);
    if (lower === "transfer-encoding") body = true;
    if (lower === "content-length") {
      if (!/^\d+$/.test(value)) return { status: 400, why: "invalid Content-Length header" };
      body ||= Number(value) > 0;
    }
  }
  const [host = ""] = hosts;
  if (hosts.length > 1 || (hosts.length === 0 && version !== "1.0") || !HOST.test(host))
    return { status: 400, why: "missing or invalid Host header" };
  return body && (method === "GET" || method === "HEAD")
    ? { status: 413, why: "request bodies are not accepted" }
    : undefined;
}

/** Whether the text can no longer become a valid request. */
function isHopeless(text: string): boolean {
  const line = text.split("\n", 1)[0] ?? "";
  return !/^[!#$%&'*+.^_`|~\w-]*(?: |$)/.test(line.replace(/\r$/, "")) || /[^\r]\n/.test(text);
}
