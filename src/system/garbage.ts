/**
 * Returns a function that counts processed bytes, and collects garbage whenever they reach the limit. Otherwise garbage
 * grows faster on a fast machine than the collector's timer frees it.
 */
export function collectingAfter(limit: number): (bytes: number) => void {
  let sinceCollected = 0;
  return bytes => {
    sinceCollected += bytes;
    if (sinceCollected < limit) return;
    sinceCollected = 0;
    Bun.gc(true);
  };
}
