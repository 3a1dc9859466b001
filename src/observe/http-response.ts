import type { Body } from "./shared-body.ts";

const REASONS = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

export interface HttpResponse {
  readonly status: keyof typeof REASONS;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

/** A response of one line of text. */
export function textResponse(
  status: HttpResponse["status"],
  text: string,
  headers: Readonly<Record<string, string>> = {},
): HttpResponse {
  const part = Buffer.from(`${text}\n`);
  return {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", ...headers },
    body: { parts: [part], length: part.length },
  };
}

/** Status line and headers, up to the blank line. */
export function headOf({ status, headers, body }: HttpResponse): Buffer {
  const at = Date.now();
  const lines = Object.entries({
    date: new Date(at).toUTCString(),
    ...headers,
    "content-length": `${body.length}`,
    connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`HTTP/1.1 ${status} ${REASONS[status]}\r\n${lines.join("")}\r\n`);
}
