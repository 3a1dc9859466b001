import type * as v from "valibot";
import { parse } from "valibot";
import { output } from "../../../lab/output.ts";
import { type ProgramResult, run } from "../../../src/system/program.ts";

/** kubectl for one cluster. */
export class Kubectl {
  readonly #command: readonly string[];

  /**
   * @param kubectl its command line
   * @param config the path of a kubeconfig
   */
  constructor(
    kubectl: readonly string[],
    readonly config: string,
  ) {
    this.#command = [...kubectl, `--kubeconfig=${config}`];
  }

  /** The command line with arguments. */
  command(argv: readonly string[]): string[] {
    return [...this.#command, ...argv];
  }

  /** Runs it, and returns its output. It must succeed. */
  output(argv: readonly string[], input?: string): Promise<string> {
    return output(this.command(argv), input);
  }

  /** Runs it, whether it succeeds or not. */
  run(argv: readonly string[], input?: string): Promise<ProgramResult> {
    return run(this.command(argv), { input });
  }

  /** Creates or changes objects. */
  async apply(...items: readonly object[]): Promise<void> {
    const list = { apiVersion: "v1", kind: "List", items };
    await this.output(["apply", "--filename=-"], JSON.stringify(list));
  }

  /** Reads an object. */
  async get<const Schema extends v.GenericSchema>(
    schema: Schema,
    argv: readonly string[],
  ): Promise<v.InferOutput<Schema>> {
    return parse(schema, JSON.parse(await this.output(["get", "--output=json", ...argv])));
  }
}
