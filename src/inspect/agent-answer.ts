import * as v from "valibot";
import { Status } from "./status.ts";

/** More than a status of 200,000 CIDRs with origins and counters takes. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Why an answer is not the status of an agent. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

/**
 * Reads the status that an agent sends as JSON over any transport. Nothing in it is trusted: reading ends after `most`
 * bytes, and it must match Status. Its texts may still contain control characters.
 *
 * @throws AnswerError if it is too long, no JSON, or no Status; and what reading the bytes throws
 */
export async function readStatus(bytes: AsyncIterable<Uint8Array>, most = MOST_BYTES): Promise<Status> {
  return readJson(bytes, Status, most);
}

/** As {@link readStatus}, but what `schema` describes. */
export async function readJson<const Schema extends v.GenericSchema>(
  bytes: AsyncIterable<Uint8Array>,
  schema: Schema,
  most: number,
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
