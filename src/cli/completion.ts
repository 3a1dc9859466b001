import { UsageError } from "./args.ts";
import { type Command, command } from "./command.ts";
import { type FlagTable, noteOf } from "./flag.ts";
import { AGENT_FLAGS, GENERAL_FLAGS, KLOG_FLAGS, shortOf } from "./flags.ts";

/** The command `completion`. The list of commands, which has this one too, is read when it runs. */
export function completionOf(commands: () => readonly Command[]): Command {
  const shells: Readonly<Record<string, (all: readonly Command[]) => string>> = { bash, zsh, fish };
  return command({
    name: "completion",
    summary: "print the completions for a shell",
    description:
      "Prints a script that completes commands, flags and their values. The examples show how to load it.",
    flags: {},
    readsPolicy: false,
    placeholder: "bash|zsh|fish",
    examples: [
      "ipmasq completion bash > /etc/bash_completion.d/ipmasq",
      "ipmasq completion zsh > /usr/local/share/zsh/site-functions/_ipmasq",
      "ipmasq completion fish > ~/.config/fish/completions/ipmasq.fish",
    ],
    async run(_own, _agent, [shell = "", ...surplus]) {
      const script = surplus.length === 0 && Object.hasOwn(shells, shell) ? shells[shell] : undefined;
      if (script === undefined)
        throw new UsageError("`completion` needs the name of a shell", "write bash, zsh or fish");
      return { stdout: script(commands()), exitCode: 0 };
    },
  });
}

/** The words or files that can follow, from the placeholder of a flag or a command. */
type Values = readonly string[] | "files" | "any";

interface CompletedFlag {
  readonly name: string;
  readonly short: string | undefined;
  readonly help: string;
  /** Undefined for a switch. */
  readonly values: Values | undefined;
}

function shared(): readonly CompletedFlag[] {
  return completed({ ...GENERAL_FLAGS, ...AGENT_FLAGS, v: KLOG_FLAGS.v });
}

function completed(flags: FlagTable): readonly CompletedFlag[] {
  return Object.entries(flags).map(([name, schema]) => {
    const { placeholder, help } = noteOf(schema);
    const values = placeholder === undefined ? undefined : valuesOf(placeholder);
    return { name, short: shortOf(name), help, values };
  });
}

function valuesOf(placeholder: string): Values {
  if (placeholder.includes("|")) return placeholder.split("|");
  return /^(PATH|FILE|DIR)$/.test(placeholder) ? "files" : "any";
}

/** The values of the arguments of a command; of `help`, its topics. */
function argumentsOf(commands: readonly Command[]): (readonly [name: string, values: Values])[] {
  const own = commands.flatMap(({ name, placeholder }) =>
    placeholder === undefined ? [] : [[name, valuesOf(placeholder)] as const],
  );
  return [...own, ["help", [...commands.map(({ name }) => name), "flags"]]];
}

/** The flag as it is written: `--backend`, `-c`. */
function spellings({ name, short }: CompletedFlag): string[] {
  const long = `${name.length === 1 ? "-" : "--"}${name}`;
  return short === undefined ? [long] : [long, `-${short}`];
}

function bash(commands: readonly Command[]): string {
  const offer = (values: Values | undefined) => {
    if (values === "files") return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")';
    if (values === "any" || values === undefined) return ":";
    return `mapfile -t COMPREPLY < <(compgen -W "${values.join(" ")}" -- "$cur")`;
  };
  const withValue = (flags: readonly CompletedFlag[], name: string) =>
    flags
      .filter(({ values }) => values !== undefined)
      .map(flag => {
        const patterns = spellings(flag).map(it => (name === "*" ? `*" ${it}"` : `"${name} ${it}"`));
        return `    ${patterns.join("|")}) ${offer(flag.values)}; return ;;`;
      });
  const words = (flags: readonly CompletedFlag[]) => flags.flatMap(spellings).join(" ");
  const names = [...commands.map(({ name }) => name), "help"];
  return `# Completions of ipmasq for bash.
_ipmasq() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command= i
  # bash splits --flag=value into three words.
  if [[ $cur == "=" ]]; then cur=
  elif [[ $prev == "=" ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${names.join("|")}) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  case "$command $prev" in
${[...commands.flatMap(({ name, flags }) => withValue(completed(flags), name)), ...withValue(shared(), "*")].join("\n")}
  esac
  if [[ $cur == -* ]]; then
    local flags="${words(shared())}"
    case $command in
${commands
  .filter(({ flags }) => Object.keys(flags).length > 0)
  .map(({ name, flags }) => `      ${name}) flags+=" ${words(completed(flags))}" ;;`)
  .join("\n")}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
    return
  fi
  case $command in
    "") ${offer(names)} ;;
${argumentsOf(commands)
  .map(([name, values]) => `    ${name}) ${offer(values)} ;;`)
  .join("\n")}
  esac
}
complete -F _ipmasq ipmasq
`;
}

function zsh(commands: readonly Command[]): string {
  const escaped = (text: string) => text.replaceAll(/[\\[\]:]/g, "\\$&").replaceAll("'", "'\\''");
  const action = (values: Values) =>
    values === "files" ? "_files" : values === "any" ? " " : `(${values.join(" ")})`;
  const spec = (flag: CompletedFlag) => {
    const { name, values, help } = flag;
    const value = values === undefined ? "" : `:${name}:${action(values)}`;
    const equals = values === undefined ? "" : "=";
    const all = spellings(flag).map(it => `${it}${it.startsWith("--") ? equals : ""}`);
    const exclusion = all.length > 1 ? `'(${spellings(flag).join(" ")})'{${all.join(",")}}` : `'${all[0]}'`;
    return `    ${exclusion}'[${escaped(help)}]${value}'`;
  };
  const specs = (flags: readonly CompletedFlag[]) => flags.map(spec).join("\n");
  const argument = new Map(argumentsOf(commands));
  const branch = (name: string, flags: FlagTable) => {
    const values = argument.get(name);
    const rest = values === undefined ? "" : ` '*:argument:${action(values)}'`;
    return `    ${name}) own=(\n${specs(completed(flags))}\n    ); _arguments $shared $own${rest} ;;`;
  };
  return `#compdef ipmasq
# Completions of ipmasq for zsh.
_ipmasq() {
  local context state line
  local -a shared own commands
  shared=(
${specs(shared())}
  )
  commands=(
${commands.map(({ name, summary }) => `    '${name}:${escaped(summary)}'`).join("\n")}
    'help:print help'
  )
  _arguments -C $shared '1:command:->command' '*::argument:->argument' && return
  case $state in
    command) _describe command commands ;;
    argument) case $words[1] in
${[...commands.map(({ name, flags }) => branch(name, flags)), branch("help", {})].join("\n")}
    esac ;;
  esac
}
if [ "$funcstack[1]" = _ipmasq ]; then _ipmasq "$@"; else compdef _ipmasq ipmasq; fi
`;
}

function fish(commands: readonly Command[]): string {
  const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
  const offer = (values: Values | undefined) => {
    if (values === undefined) return "";
    if (values === "files") return " -r -F";
    return values === "any" ? " -x" : ` -x -a ${quoted(values.join(" "))}`;
  };
  const flagLine = ({ name, short, help, values }: CompletedFlag, condition: string) => {
    const letter = short === undefined ? "" : ` -s ${short}`;
    const long = name.length === 1 ? ` -s ${name}` : ` -l ${name}${letter}`;
    return `complete -c ipmasq${condition}${long}${offer(values)} -d ${quoted(help)}`;
  };
  const seen = (name: string) => ` -n '__fish_seen_subcommand_from ${name}'`;
  const first = " -n __fish_use_subcommand";
  return `${[
    "# Completions of ipmasq for fish.",
    "complete -c ipmasq -f",
    ...commands.map(({ name, summary }) => `complete -c ipmasq${first} -a ${name} -d ${quoted(summary)}`),
    `complete -c ipmasq${first} -a help -d 'print help'`,
    ...shared().map(flag => flagLine(flag, "")),
    ...commands.flatMap(({ name, flags }) => completed(flags).map(flag => flagLine(flag, seen(name)))),
    ...argumentsOf(commands).flatMap(([name, values]) =>
      values === "any"
        ? []
        : [`complete -c ipmasq${seen(name)}${offer(values).replace(" -x", "").replace(" -r", "")}`],
    ),
  ].join("\n")}\n`;
}
