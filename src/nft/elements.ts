import { BITS, Cidr } from "../net/cidr.ts";
import { block, byAddress, type Element } from "./table.ts";

/** The elements of a set by address, and their counts. */
export interface ListedElements {
  readonly elements: readonly Element[];
  /** For each element its packets and its bytes. */
  readonly counts: ArrayLike<number>;
}

/**
 * Reads the elements of a set from the text of `nft list set`, while nft prints it. Elements that are as expected are
 * not created again, so that a long set takes little memory.
 *
 * nft does not escape a double quote in a comment. Only a foreign comment can contain one.
 */
export class ElementReader {
  readonly #expected: readonly Element[];
  readonly #decoder = new TextDecoder();
  #rest = "";
  #place: "before" | "inside" | "after" | "lost" = "before";
  /** Undefined while all elements are as expected. */
  #elements: Element[] | undefined;
  #length = 0;
  /** The next expected element. */
  #next = 0;
  #last: Element | undefined;
  #counts: Float64Array<ArrayBuffer>;

  /** @param expected the probable elements, by address */
  constructor(expected: readonly Element[]) {
    this.#expected = expected;
    this.#counts = new Float64Array(2 * Math.max(expected.length, FEWEST));
  }

  add(piece: Uint8Array): void {
    if (this.#place !== "lost")
      this.#read(this.#rest + this.#decoder.decode(piece, { stream: true }), LONGEST);
  }

  /** The elements; undefined if the text has another form, or its elements are not CIDRs by address. */
  end(): ListedElements | undefined {
    this.#read(this.#rest, 0);
    if (this.#place === "lost" || this.#place === "inside") return undefined;
    const isExpected = !this.#elements && this.#length === this.#expected.length;
    const elements = isExpected ? this.#expected : (this.#elements ?? this.#expected.slice(0, this.#length));
    return { elements, counts: this.#counts.subarray(0, 2 * this.#length) };
  }

  /** @param ahead the number of characters that must follow, so that no element is incomplete */
  #read(text: string, ahead: number): void {
    let at = 0;
    if (this.#place === "before") {
      const start = text.indexOf(START);
      if (start < 0) {
        this.#rest = text; // short
        return;
      }
      at = start + START.length;
      this.#place = "inside";
    }
    while (this.#place === "inside" && text.length - at > ahead) at = this.#element(text, at);
    this.#rest = text.slice(at);
  }

  /** Reads the element at an offset, and returns the offset of the next one. */
  #element(text: string, at: number): number {
    ELEMENT.lastIndex = at;
    const expected = this.#expected[this.#next];
    const after = expected ? this.#asExpected(expected, text, at) : 0;
    if (expected && after > 0) {
      this.#keep(expected);
      this.#next++;
      return this.#separator(text, after);
    }
    const [all, first = "", length, last, packets = "0", bytes = "0", comment] = ELEMENT.exec(text) ?? [];
    if (all === undefined) return this.#lose(at);
    const value = cidrOf(first, length, last);
    if (typeof value === "string") return this.#lose(at);
    this.#count(Number(packets), Number(bytes));
    this.#keep(this.#known({ value, ...(comment === undefined ? {} : { comment }) }));
    return this.#separator(text, at + all.length);
  }

  /** Compares without creating objects. Returns the offset after the element; 0 if it is another one. */
  #asExpected({ value, comment }: Element, text: string, at: number): number {
    if (!(value instanceof Cidr)) return 0;
    const head = value.prefix === BITS[value.family] ? value.address : value.text;
    if (!text.startsWith(head, at)) return 0;
    let end = at + head.length;
    let packets = 0;
    let bytes = 0;
    if (text.startsWith(PACKETS, end)) {
      end += PACKETS.length;
      for (let digit = digitAt(text, end); digit >= 0; digit = digitAt(text, ++end))
        packets = packets * 10 + digit;
      if (!text.startsWith(BYTES, end)) return 0;
      end += BYTES.length;
      for (let digit = digitAt(text, end); digit >= 0; digit = digitAt(text, ++end))
        bytes = bytes * 10 + digit;
    }
    if (comment !== undefined) {
      const tail = ` comment "${comment}"`;
      if (!text.startsWith(tail, end)) return 0;
      end += tail.length;
    }
    if (!isSeparator(text, end)) return 0;
    this.#count(packets, bytes);
    return end;
  }

  /** The expected element, if it equals the listed one. */
  #known(listed: Element): Element {
    for (; ; this.#next++) {
      const expected = this.#expected[this.#next];
      const order = expected ? byAddress(expected, listed) : 1;
      if (!expected || order > 0) return listed;
      if (order < 0) continue;
      this.#next++;
      return expected.comment === listed.comment ? expected : listed;
    }
  }

  #keep(element: Element): void {
    if (this.#last && byAddress(this.#last, element) >= 0) this.#place = "lost";
    this.#last = element;
    if (!this.#elements && this.#expected[this.#length] !== element)
      this.#elements = this.#expected.slice(0, this.#length);
    this.#elements?.push(element);
    this.#length++;
  }

  #count(packets: number, bytes: number): void {
    const at = 2 * this.#length;
    if (at >= this.#counts.length) {
      const longer = new Float64Array(2 * this.#counts.length);
      longer.set(this.#counts);
      this.#counts = longer;
    }
    this.#counts[at] = packets;
    this.#counts[at + 1] = bytes;
  }

  /** Skips the text between two elements. */
  #separator(text: string, at: number): number {
    SEPARATOR.lastIndex = at;
    if (!SEPARATOR.test(text)) return this.#lose(at);
    const end = SEPARATOR.lastIndex;
    if (text.charAt(end - 1) === "}" && this.#place === "inside") this.#place = "after";
    return end;
  }

  #lose(at: number): number {
    this.#place = "lost";
    return at;
  }
}

const START = "elements = { ";
const PACKETS = " counter packets ";
const BYTES = " bytes ";
const ELEMENT =
  /([\da-f.:]+)(?:\/(\d+)|-([\da-f.:]+))?(?: counter packets (\d+) bytes (\d+))?(?: comment "([^"\n]*)")?(?=,| \})/y;
const SEPARATOR = /,\s+| \}/y;
const FEWEST = 8;
/** The longest element with its separator, in characters. Comments have up to 255 bytes. */
const LONGEST = 500;
const ZERO = "0".charCodeAt(0);

/** -1 if the character is not a digit. */
function digitAt(text: string, at: number): number {
  const digit = text.charCodeAt(at) - ZERO;
  return digit >= 0 && digit <= 9 ? digit : -1;
}

function isSeparator(text: string, at: number): boolean {
  return text.startsWith(",", at) || text.startsWith(" }", at);
}

function cidrOf(first: string, length: string | undefined, last: string | undefined): Cidr | string {
  if (last !== undefined) return block({ range: [first, last] });
  return block(length === undefined ? first : { prefix: { addr: first, len: Number(length) } });
}
