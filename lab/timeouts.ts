/**
 * Seconds in which a server has to see a connection. One takes less than a millisecond, but in an emulated machine a
 * hundred at once may take longer; LAB_SECONDS says how long there.
 */
export const SECONDS = Number(process.env.LAB_SECONDS ?? 2);
