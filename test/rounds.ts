/** Factor for the number of random cases and repetitions. `npm run test:faults` sets 4. */
export const ROUNDS = Number(process.env.ROUNDS ?? 1);
