/**
 * A prefix for the commands of a backend that refuses rules with a word, as a kernel without the feature does.
 *
 * @param message what the refused command prints
 */
export function refusing(word: string, message: string): string[] {
  return [
    "sh",
    "-c",
    `case "$*" in
      *-restore*|*" -f -"*)
        input=$(cat)
        case "$input" in *${word}*) echo "${message}" >&2; exit 1;; esac
        printf '%s\\n' "$input" | "$@";;
      *) exec "$@";;
    esac`,
    "--",
  ];
}
