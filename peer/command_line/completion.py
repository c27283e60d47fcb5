"""Completion of the command line for bash, zsh and fish, made from its grammar.

All three scripts do the same: they walk the words that are there from command to command, and offer
what can stand next: options behind a dash, else commands, else what the place is for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from peer.device.config import KEYS

FILES, DIRECTORIES, ANYTHING = "@files", "@directories", "@anything"
"""What a value is, if it is not one of a few words; nothing is offered for the last."""
OF_DIRECTORIES = ("folder add", "folder attach", "restore-folder", "demo")
"""Commands whose PATH is a directory."""

BASH = """\
# Completion of holdfast for bash: put this into ~/.local/share/bash-completion/completions/holdfast
_holdfast_level() {{
    case "$1" in
{cases}
    esac
}}

_holdfast() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" command="" place=0 kind="" below options valued places
    local each pair i
    _holdfast_level ""
    for ((i = 1; i < COMP_CWORD; i++)); do
        each="${{COMP_WORDS[i]}}"
        if [[ "$each" == : || "$each" == = ]]; then  # bash breaks words there
            ((i++))
        elif [[ -n "$kind" ]]; then
            kind=""
        elif [[ "$each" == -* ]]; then
            for pair in $valued; do
                [[ "${{pair%%=*}}" != "$each" ]] || kind="${{pair#*=}}"
            done
        elif [[ " $below " == *" $each "* ]]; then
            command="${{command:+$command }}$each"
            _holdfast_level "$command"
        else
            ((place++))
        fi
    done
    if [[ -n "$kind" ]]; then
        below=""
    elif [[ "$word" == -* ]]; then
        below="$options"
    elif [[ -n "$places" ]]; then
        read -ra places <<< "$places"
        ((place < ${{#places[@]}})) || place=$((${{#places[@]}} - 1))
        kind="${{places[place]}}"
    fi
    [[ "$kind" == @* ]] || below+=" ${{kind//,/ }}"
    COMPREPLY=($(compgen -W "$below" -- "$word"))
    local IFS=$'\\n'
    case "$kind" in
        {files}) compopt -o filenames 2> /dev/null; COMPREPLY+=($(compgen -f -- "$word")) ;;
        {directories}) compopt -o filenames 2> /dev/null; COMPREPLY+=($(compgen -d -- "$word")) ;;
    esac
}}
complete -F _holdfast holdfast
"""

ZSH = """\
#compdef holdfast
# Completion of holdfast for zsh: put this into a directory of $fpath, as _holdfast
_holdfast_level() {{
    case "$1" in
{cases}
    esac
}}

_holdfast() {{
    local command="" kind="" each pair word="${{words[CURRENT]}}"
    local -i place=1 i
    local -a below options valued places found
    _holdfast_level ""
    for ((i = 2; i < CURRENT; i++)); do
        each="${{words[i]}}"
        if [[ -n "$kind" ]]; then
            kind=""
        elif [[ "$each" == -* ]]; then
            for pair in $valued; do
                [[ "${{pair%%=*}}" != "$each" ]] || kind="${{pair#*=}}"
            done
        elif (( ${{below[(I)${{each}}:*]}} )); then
            command="${{command:+$command }}$each"
            _holdfast_level "$command"
        else
            ((place++))
        fi
    done
    if [[ -n "$kind" ]]; then
        below=()
    elif [[ "$word" == -* ]]; then
        _describe -o 'option' options
        return
    elif (( $#places )); then
        (( place <= $#places )) || place=$#places
        kind="${{places[place]}}"
    fi
    (( ! $#below )) || _describe 'command' below
    case "$kind" in
        {files}) _files ;;
        {directories}) _files -/ ;;
        {anything} | "") ;;
        *) found=(${{(s:,:)kind}}); compadd -a found ;;
    esac
}}
_holdfast "$@"
"""

FISH = """\
# Completion of holdfast for fish: for ~/.config/fish/completions/holdfast.fish
function __holdfast_level
    set -g __holdfast_below
    set -g __holdfast_options
    set -g __holdfast_valued
    set -g __holdfast_places
    switch "$argv[1]"
{cases}
    end
end

function __holdfast_complete
    set -l word (commandline -ct)
    set -l given (commandline -opc)
    set -l path
    set -l kind ""
    set -l place 1
    __holdfast_level ""
    for each in $given[2..-1]
        if test -n "$kind"
            set kind ""
        else if string match -q -- '-*' $each
            for pair in $__holdfast_valued
                if test (string split -m 1 = -- $pair)[1] = $each
                    set kind (string split -m 1 = -- $pair)[2]
                end
            end
        else if string match -q -- "$each"\\t'*' $__holdfast_below
            set path $path $each
            __holdfast_level "$path"
        else
            set place (math $place + 1)
        end
    end
    if test -n "$kind"
        set -g __holdfast_below
    else if string match -q -- '-*' $word
        string join \\n -- $__holdfast_options
        return
    else if test (count $__holdfast_places) -gt 0
        if test $place -gt (count $__holdfast_places)
            set place (count $__holdfast_places)
        end
        set kind $__holdfast_places[$place]
    end
    string join \\n -- $__holdfast_below
    switch "$kind"
        case '{files}'
            __fish_complete_path $word
        case '{directories}'
            __fish_complete_directories $word ''
        case '{anything}' ''
        case '*'
            string split , -- $kind
    end
end
complete -c holdfast -f -a '(__holdfast_complete)'
"""


class Option(NamedTuple):
    """One way to say something behind a dash."""

    word: str
    what: str
    value: str
    """What comes behind it; empty if nothing does."""


class Level(NamedTuple):
    """What can follow some words of the command line."""

    path: str
    """The words of the command, without the program's; empty for the first."""
    below: list[tuple[str, str]]
    """The commands that can follow, and what they do."""
    options: list[Option]
    places: list[str]
    """What stands without a dash, one after the other; the last may come more than once."""


def levels(parser: argparse.ArgumentParser, path: str = "") -> Iterator[Level]:
    """Every command with what can follow it."""
    level = Level(path, [], [], [])
    deeper: list[Level] = []
    help_of = parser._get_formatter()._expand_help
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            whats = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                level.below.append((name, whats.get(name, "")))
                deeper += levels(command, f"{path} {name}".strip())
        elif action.option_strings:
            what = help_of(action) if action.help else ""
            value = "" if action.nargs == 0 else _value(action, path)
            level.options.extend(Option(word, what, value) for word in action.option_strings)
        else:
            level.places.append(_value(action, path))
    yield level
    yield from deeper


def _value(action: argparse.Action, path: str) -> str:
    """What is offered for the value of an option, or at a place."""
    if action.choices:
        return ",".join(str(choice) for choice in action.choices)
    name = action.metavar or action.dest.upper()
    if name == "KEY":
        return ",".join(key.dotted for key in KEYS.values())
    if name in ("DIR", "DIRECTORY") or (name == "PATH" and path in OF_DIRECTORIES):
        return DIRECTORIES
    return FILES if action.type is Path or name in ("PATH", "DEST", "COPY") else ANYTHING


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script of one shell."""
    template, case = {"bash": (BASH, _bash), "zsh": (ZSH, _zsh), "fish": (FISH, _fish)}[shell]
    return template.format(
        cases="\n".join(case(level) for level in levels(parser)),
        files=FILES, directories=DIRECTORIES, anything=ANYTHING,
    )  # fmt: skip


def _valued(level: Level) -> list[str]:
    return [f"{option.word}={option.value}" for option in level.options if option.value]


def _bash(level: Level) -> str:
    below = " ".join(word for word, _ in level.below)
    options = " ".join(option.word for option in level.options if option.word.startswith("--"))
    return (
        f'        "{level.path}") below="{below}" options="{options}"'
        f' valued="{" ".join(_valued(level))}" places="{" ".join(level.places)}" ;;'
    )


def _zsh(level: Level) -> str:
    below = _quoted([f"{word}:{what}" for word, what in level.below], "'\\''")
    options = _quoted([f"{o.word}:{o.what}" for o in level.options if o.word[:2] == "--"], "'\\''")
    valued, places = _quoted(_valued(level), "'\\''"), _quoted(level.places, "'\\''")
    return (
        f'        "{level.path}") below=({below}) options=({options})'
        f" valued=({valued}) places=({places}) ;;"
    )


def _fish(level: Level) -> str:
    lines = [f"        case '{level.path}'"]
    parts = {
        "below": [f"{word}\t{what}" for word, what in level.below],
        "options": [f"{o.word}\t{o.what}" for o in level.options if o.word.startswith("--")],
        "valued": _valued(level),
        "places": level.places,
    }
    for name, values in parts.items():
        if values:
            said = _quoted([value.replace("\\", "\\\\") for value in values], "\\'")
            lines.append(f"            set __holdfast_{name} {said}")
    return "\n".join(lines)


def _quoted(values: Sequence[str], quote: str) -> str:
    """Each in single quotes; `quote` is how the shell writes one within."""
    return " ".join("'" + value.replace("'", quote) + "'" for value in values)
