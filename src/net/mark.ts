import { type ParseFailure, quote } from "./parse-failure.ts";

/** A mark of packets: the bits in `mask` equal `value`, which is not zero. */
export interface Mark {
  readonly value: number;
  readonly mask: number;
  /** As iptables prints it: `0x200/0x200`, or `0x200` if all 32 bits count. */
  readonly text: string;
  readonly key: string;
}

/** The mask of a mark whose 32 bits all count. */
export const WHOLE_MARK = 0xffffffff;

/** Parses `VALUE/MASK` or `VALUE`, in hexadecimal with `0x` or in decimal, as iptables and nft do. */
export function parseMark(text: string): Mark | ParseFailure {
  const [, first = "", second] = /^(0x[\da-f]+|\d+)(?:\/(0x[\da-f]+|\d+))?$/i.exec(text) ?? [];
  const value = Number(first);
  const mask = second === undefined ? WHOLE_MARK : Number(second);
  if (first === "" || /^0\d/.test(first) || /^0\d/.test(second ?? "")) {
    return {
      what: `${quote(text)} is not a mark`,
      remedy: 'write a value and a mask, such as "0x200/0x200"',
    };
  }
  if (value > WHOLE_MARK || mask > WHOLE_MARK) {
    return { what: `${quote(text)} has more than 32 bits`, remedy: 'write a mark such as "0x200/0x200"' };
  }
  const inMask = masked(value, mask);
  if (inMask === 0) {
    const remedy = 'write a value with bits of the mask, such as "0x200/0x200"';
    return { what: `${quote(text)} also matches packets without a mark`, remedy };
  }
  if (inMask !== value) {
    return {
      what: `${quote(text)} has bits outside of its mask`,
      remedy: `did you mean "${markText(inMask, mask)}"?`,
    };
  }
  const known = markText(value, mask);
  return { value, mask, text: known, key: known };
}

/** Parses the mark of a packet: 32 bits, in hexadecimal with `0x` or in decimal. */
export function parseBits(text: string): number | ParseFailure {
  const bits = /^(0x[\da-f]+|[1-9]\d*|0)$/i.test(text) ? Number(text) : Number.NaN;
  if (bits <= WHOLE_MARK) return bits;
  return { what: `${quote(text)} is not the mark of a packet`, remedy: 'write a number such as "0x200"' };
}

/** A mark that is known to be valid. Throws TypeError otherwise. */
export function markOf(text: string): Mark {
  const mark = parseMark(text);
  if ("what" in mark) throw new TypeError(mark.what);
  return mark;
}

/** Whether a packet with mark `bits` has the mark. */
export function hasMark({ value, mask }: Pick<Mark, "value" | "mask">, bits: number): boolean {
  return masked(bits, mask) === value;
}

function masked(bits: number, mask: number): number {
  return (bits & mask) >>> 0;
}

function markText(value: number, mask: number): string {
  const hex = (number: number) => `0x${number.toString(16)}`;
  return mask === WHOLE_MARK ? hex(value) : `${hex(value)}/${hex(mask)}`;
}
