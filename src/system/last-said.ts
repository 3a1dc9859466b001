/** Remembers the last message about a condition, so that a lasting condition is reported once. */
export class LastSaid {
  #text: string | undefined;

  /** Whether a message differs from the previous one; remembers it. Undefined: the condition is over. */
  isNews(text: string | undefined): boolean {
    const isNews = text !== this.#text;
    this.#text = text;
    return isNews;
  }
}
