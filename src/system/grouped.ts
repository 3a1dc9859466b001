/** A number, or its digits, with commas between thousands. `toLocaleString` would load 2 MB of locale data. */
export function grouped(number: number | string): string {
  return `${number}`.replace(/\B(?=(\d{3})+$)/g, ",");
}
