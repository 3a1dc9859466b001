/**
 * The actual rules, according to the last listing and our own writes since then. They are valid only while
 * `nft monitor` reports every transaction and all transactions are ours.
 *
 * Own transactions are recognised by their number: `nft monitor` names processes by PIDs of another namespace. If a
 * foreign transaction is mistaken for ours, the report of our own transaction comes as a surplus and counts as
 * foreign.
 */
export class Memory<Key, Value> {
  readonly #known = new Map<Key, Value>();
  #isWatched = false;
  /** Increases with each change, so that a listing that began before it is not remembered. */
  #epoch = 0;
  /** Own transactions that were not reported yet. */
  #expected = 0;
  #timer: Timer | undefined;
  /** Called if the kernel must be listed again, because an own transaction was not reported. */
  onDoubt: () => void = () => {};

  /** @param patience milliseconds until an own transaction must be reported */
  constructor(readonly patience = PATIENCE_MS) {}

  /** Whether transactions are reported. */
  get isWatched(): boolean {
    return this.#isWatched;
  }

  set isWatched(isWatched: boolean) {
    this.#isWatched = isWatched;
    this.#reset();
  }

  /** The actual rules; undefined if they are not known. */
  get(key: Key): Value | undefined {
    return this.#known.get(key);
  }

  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Remembers a listing.
   *
   * @param epoch the value of {@link epoch} when the listing began
   */
  listed(key: Key, value: Value, epoch: number): void {
    if (this.#isWatched && epoch === this.#epoch) this.#known.set(key, value);
  }

  /** Remembers the result of an own write. */
  written(key: Key, value: Value): void {
    this.#epoch++;
    if (this.#isWatched) this.#known.set(key, value);
  }

  forget(): void {
    this.#epoch++;
    this.#known.clear();
  }

  /** Call it before an own transaction. */
  expect(): void {
    this.#epoch++;
    this.#expected++;
    if (!this.#isWatched) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#expected === 0) return;
      this.#reset();
      this.onDoubt();
    }, this.patience).unref();
  }

  /** Call it if an own transaction failed: the kernel may have committed it nevertheless. */
  failed(): void {
    this.#reset();
  }

  /**
   * Call it for each transaction that is reported. Returns whether the transaction is ours; after a foreign
   * transaction, everything is forgotten.
   */
  reported(): boolean {
    if (this.#expected > 0) {
      this.#expected--;
      return true;
    }
    this.forget();
    return false;
  }

  #reset(): void {
    this.#expected = 0;
    clearTimeout(this.#timer);
    this.forget();
  }
}

/** `nft monitor` takes 0.6 s to print a transaction of 45,000 elements, on an idle machine. */
const PATIENCE_MS = 10_000;
