import { lstatSync, unlinkSync } from "node:fs";
import type { Log } from "../observe/log.ts";
import { messageOf } from "../system/errors.ts";

/** Functions that return the JSON body for each path. */
export type Answers = Readonly<Record<string, () => unknown>>;

/** The Unix socket at which the active agent answers `status` and `cleanup`. Only its own user can connect. */
export class AgentSocket {
  #server: Bun.Server<undefined> | undefined;
  /** Inode of the socket that `#server` created. */
  #inode: number | undefined;

  constructor(
    readonly path: string,
    readonly log: Log,
    readonly answers: Answers,
  ) {}

  /** Starts answering. Does nothing if this server already answers at the path. Throws Error if it cannot listen. */
  serve(): void {
    if (this.#server && inodeOf(this.path) === this.#inode) return;
    const umask = process.umask(0o077);
    try {
      this.stop();
      if (inodeOf(this.path) !== undefined) unlinkSync(this.path); // left by a killed agent
      this.#server = Bun.serve({
        unix: this.path,
        maxRequestBodySize: 1024,
        development: false,
        fetch: request => this.#answer(request),
        error: error => {
          this.log.error("socket request failed", { error: messageOf(error) });
          return new Response("internal error; see the log\n", { status: 500 });
        },
      });
      this.#inode = inodeOf(this.path);
    } finally {
      process.umask(umask);
    }
  }

  /** Stops answering. */
  stop(): void {
    // Stopping removes the file at the path, which another agent may have replaced with its own socket.
    if (inodeOf(this.path) === this.#inode) void this.#server?.stop(true);
    else this.#server?.unref();
    this.#server = undefined;
  }

  async #answer(request: Request): Promise<Response> {
    const path = URL.parse(request.url)?.pathname ?? "";
    const answer = Object.hasOwn(this.answers, path) ? this.answers[path] : undefined;
    if (!answer) return new Response("not found\n", { status: 404 });
    return Response.json(await answer());
  }
}

function inodeOf(path: string): number | undefined {
  try {
    return lstatSync(path).ino;
  } catch {
    return undefined;
  }
}
