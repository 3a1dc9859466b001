import * as v from "valibot";
import { Status } from "./status.ts";

/** A status of 200,000 CIDRs with origins and counters is shorter. */
const MOST_BYTES = 64 * 1024 * 1024;

/** The answer is not the status of an agent; the message says why. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

/**
 * Reads an untrusted status as JSON, over any transport. Its texts may contain control characters.
 *
 * @param most the maximum number of bytes to read
 * @throws AnswerError if it is too long, not JSON, or not a Status; and the errors of reading the bytes
 */
export async function readStatus(bytes: AsyncIterable<Uint8Array>, most = MOST_BYTES): Promise<Status> {
  return readJson(bytes, Status, most);
}

/** Like {@link readStatus}, for any schema. */
export async function readJson<const Schema extends v.GenericSchema>(
  bytes: AsyncIterable<Uint8Array>,
  schema: Schema,
  most = MOST_BYTES,
): Promise<v.InferOutput<Schema>> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of bytes) {
    length += part.length;
    if (length > most) throw new AnswerError(`it is longer than ${most} bytes`);
    parts.push(part);
  }
  const parsed = v.safeParse(schema, parsedJson(Buffer.concat(parts, length).toString()));
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw new AnswerError(`it is not a status: ${v.getDotPath(issue) ?? "all of it"}: ${issue.message}`);
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new AnswerError("it is not JSON");
  }
}
