/** What a client asks for. */
export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
}

/** Why a request is not understood. */
export interface Refusal {
  readonly status: 400 | 413 | 431 | 505;
  readonly why: string;
}

/** The most bytes that a request may have: RFC 9110 leaves the limit to us, 8 KiB is that of most servers. */
export const MOST_HEAD_BYTES = 8192;

/**
 * Reads what a client has sent so far, strictly by RFC 9112: a request line and headers that end with CRLF, one Host,
 * no body. Ignores what follows the head: a connection carries one request.
 *
 * @returns undefined as long as the head has no end
 */
export function parseRequest(bytes: Buffer): HttpRequest | Refusal | undefined {
  const text = bytes.toString("latin1").replace(/^(?:\r\n)+/, "");
  const end = text.indexOf("\r\n\r\n");
  if (end < 0 || end > MOST_HEAD_BYTES) {
    if (bytes.length > MOST_HEAD_BYTES)
      return { status: 431, why: `a request has at most ${MOST_HEAD_BYTES} bytes` };
    return isHopeless(text) ? { status: 400, why: "this is not HTTP" } : undefined;
  }
  const [requestLine = "", ...lines] = text.slice(0, end).split("\r\n");
  const [, method, target, version] = REQUEST_LINE.exec(requestLine) ?? [];
  if (method === undefined || target === undefined || version === undefined)
    return { status: 400, why: "the request line is not right" };
  if (!version.startsWith("1.")) return { status: 505, why: "only HTTP/1.0 and 1.1 are supported" };
  const path = PATH.exec(target)?.[1];
  if (path === undefined) return { status: 400, why: "the path is not right" };
  return refusedHeaders(lines, method, version) ?? { method, path: path === "" ? "/" : path };
}

/** RFC 9112, section 3; the target has no blank and no control character. */
const REQUEST_LINE = /^([!#$%&'*+.^_`|~\w-]+) ([\x21-\x7e]+) HTTP\/(\d\.\d)$/;
/** The path of a target in origin-form or absolute-form, RFC 9112, section 3.2. */
const PATH = /^(?:http:\/\/[\w.:[\]-]+)?((?<=\w|\])(?=$|\?)|\/[^?#]*)(?:\?[^#]*)?$/i;
/** RFC 9110, section 5: a name is a token, and a value has no control character but the tab. */
const HEADER = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;
/** RFC 9110, section 7.2; names as DNS has them, with the underscores of Docker's. */
const HOST = /^(?:[\w.-]*|\[[\da-f:.]+\])(?::\d{0,5})?$/i;

function refusedHeaders(lines: readonly string[], method: string, version: string): Refusal | undefined {
  const hosts: string[] = [];
  let body = false;
  for (const line of lines) {
    const [, name, value = ""] = HEADER.exec(line) ?? [];
    if (name === undefined) return { status: 400, why: "a header is not right" };
    const lower = name.toLowerCase();
    if (lower === "host") hosts.push(value);
    if (lower === "transfer-encoding") body = true;
    if (lower === "content-length") {
      if (!/^\d+$/.test(value)) return { status: 400, why: "the header Content-Length is not right" };
      body ||= Number(value) > 0;
    }
  }
  const [host = ""] = hosts;
  if (hosts.length > 1 || (hosts.length === 0 && version !== "1.0") || !HOST.test(host))
    return { status: 400, why: "the header Host is not right" };
  return body && (method === "GET" || method === "HEAD")
    ? { status: 413, why: "a request here has no body" }
    : undefined;
}

/** Whether the text can no longer become a valid request. */
function isHopeless(text: string): boolean {
  const line = text.split("\n", 1)[0] ?? "";
  return !/^[!#$%&'*+.^_`|~\w-]*(?: |$)/.test(line.replace(/\r$/, "")) || /[^\r]\n/.test(text);
}
