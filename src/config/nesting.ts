import type { CST } from "yaml";

/** How deep the lists and mappings stand in one another, as far as single lexemes tell. */
export class Nesting {
  /** The open block lists and mappings, outermost first, with the columns at which their entries begin. */
  readonly #blocks: { readonly kind: "list" | "mapping"; readonly column: number }[] = [];
  /** For each open bracket, how many colons followed since the last comma: each makes a mapping. */
  readonly #brackets: number[] = [];
  #colons = 0;
  /** The column of the first value since the last indicator of this line. */
  #valueColumn: number | undefined;

  get depth(): number {
    return this.#blocks.length + this.#brackets.length + this.#colons;
  }

  endLine(): void {
    this.#valueColumn = undefined;
  }

  add(type: CST.TokenType | null, column: number): void {
    switch (type) {
      case "doc-mode":
      case "doc-start":
      case "doc-end":
        this.#blocks.length = 0;
        this.#closeBrackets(0);
        return;
      case "flow-error-end":
        this.#closeBrackets(0);
        return;
      case "flow-map-start":
      case "flow-seq-start":
        this.#valueColumn ??= column;
        this.#brackets.push(0);
        return;
      case "flow-map-end":
      case "flow-seq-end":
        this.#closeBrackets(this.#brackets.length - 1);
        return;
      case "comma":
        this.#setColons(0);
        return;
      case "seq-item-ind":
        this.#openBlock("list", column);
        return;
      case "explicit-key-ind":
        this.#openBlock("mapping", column);
        return;
      case "map-value-ind":
        if (this.#brackets.length > 0) this.#setColons((this.#brackets.at(-1) ?? 0) + 1);
        else this.#openBlock("mapping", this.#valueColumn ?? column);
        return;
      case "space":
      case "comment":
      case "newline":
        return;
      default:
        this.#valueColumn ??= column;
    }
  }

  #openBlock(kind: "list" | "mapping", column: number): void {
    if (this.#brackets.length > 0) return;
    this.#valueColumn = undefined;
    let inner = this.#blocks.at(-1);
    // A list may begin in the column of the mapping that holds it.
    while (
      inner &&
      (inner.column > column || (inner.column === column && inner.kind === "list" && kind === "mapping"))
    ) {
      this.#blocks.pop();
      inner = this.#blocks.at(-1);
    }
    if (!inner || inner.column < column || inner.kind !== kind) this.#blocks.push({ kind, column });
  }

  #setColons(count: number): void {
    const last = this.#brackets.pop();
    if (last === undefined) return;
    this.#brackets.push(count);
    this.#colons += count - last;
  }

  #closeBrackets(left: number): void {
    while (this.#brackets.length > Math.max(left, 0)) this.#colons -= this.#brackets.pop() ?? 0;
  }
}
