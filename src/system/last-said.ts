/** Remembers the last message about a condition, so that a lasting condition is logged once. */
export class LastSaid {
  #text: string | undefined;

  /** Whether the message differs from the last message. Pass undefined when the condition ends. */
  isNews(text: string | undefined): boolean {
    const isNews = text !== this.#text;
    this.#text = text;
    return isNews;
  }
}
