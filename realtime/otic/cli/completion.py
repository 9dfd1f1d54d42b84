"""``otic completion``: a script with which a shell completes commands, options and models."""

from __future__ import annotations

import argparse

from otic.cli.arguments import Parser
from otic.cli.main import COMMANDS, Command, load_command

_SHELLS = ("bash", "zsh", "fish")
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"
_BASH = """_otic() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words=
    if (( COMP_CWORD == 1 )); then
        words="{commands}"
    elif [[ ${{COMP_WORDS[COMP_CWORD-1]}} == --model || $command == inspect ]]; then
        words="{models}"
    fi
    if [[ $word == -* ]]; then
        case $command in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _otic otic
"""
_FISH = "complete -c otic -n '{when}' -a '{words}'{plain}\n"


def add_completion_options(parser: Parser) -> None:
    """Add the options of ``otic completion``."""
    parser.epilog = "example: otic completion bash >> ~/.bash_completion"
    parser.add_argument("shell", choices=_SHELLS, help="the shell to complete in")


def completion(args: argparse.Namespace) -> int:
    """Print the script; it has what this version knows, so an update needs a new one."""
    from otic.model.bundle import known_names

    options = {name: _options(command) for name, command in COMMANDS.items()}
    if args.shell == "fish":
        print(_fish(options, known_names()), end="")
        return 0
    cases = (f'            {name}) words="{" ".join(each)}";;' for name, each in options.items())
    script = _BASH.format(
        commands=" ".join(options), models=" ".join(known_names()), cases="\n".join(cases)
    )
    print(_ZSH * (args.shell == "zsh") + script, end="")
    return 0


def _options(command: Command) -> list[str]:
    try:
        return load_command(command)[0].shown_options()
    except ImportError:  # of an extra that is not installed
        return []


def _fish(options: dict[str, list[str]], models: list[str]) -> str:
    names = " ".join(options)
    lines = _FISH.format(when="__fish_use_subcommand", words=names, plain=" -f")
    for name, each in options.items():
        when = f"__fish_seen_subcommand_from {name}"
        lines += _FISH.format(when=when, words=" ".join(each), plain="")
        if name == "inspect" or "--model" in each:
            lines += _FISH.format(when=when, words=" ".join(models), plain="")
    return lines
