"""Completion of the command line for bash, zsh and fish, made from its grammar."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

BASH = """\
# Completion of holdfast for bash: put this into ~/.local/share/bash-completion/completions/holdfast
_holdfast() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" path="" next i
    for ((i = 1; i < COMP_CWORD; i++)); do
        next="${{path:+$path }}${{COMP_WORDS[i]}}"
        case "$next" in
            {paths}) path="$next" ;;
        esac
    done
    local words=""
    case "$path" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ ${{#COMPREPLY[@]}} -eq 0 && "$word" != -* ]]; then
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _holdfast holdfast
"""

ZSH = """\
#compdef holdfast
# Completion of holdfast for zsh: put this into a directory of $fpath, as _holdfast
_holdfast() {{
    local path="" next i
    for ((i = 2; i < CURRENT; i++)); do
        next="${{path:+$path }}${{words[i]}}"
        case "$next" in
            {paths}) path="$next" ;;
        esac
    done
    local -a found
    case "$path" in
{cases}
    esac
    _describe 'holdfast' found || _files
}}
_holdfast "$@"
"""


class Level(NamedTuple):
    """What can follow some words of the command line."""

    path: str
    """The words of the command, without the program's; empty for the first."""
    words: list[tuple[str, str]]
    """What can be typed, and what it does."""


def levels(parser: argparse.ArgumentParser, path: str = "") -> Iterator[Level]:
    """Every command with what can follow it."""
    words: list[tuple[str, str]] = []
    below: list[Level] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            whats = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                words.append((name, whats.get(name, "")))
                below += levels(command, f"{path} {name}".strip())
        elif action.option_strings:
            words.append((action.option_strings[-1], action.help or ""))
        elif action.choices:
            words += [(str(choice), "") for choice in action.choices]
    yield Level(path, words)
    yield from below


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script of one shell."""
    found = list(levels(parser))
    paths = " | ".join(f'"{level.path}"' for level in found if level.path)
    if shell == "bash":
        cases = "\n".join(
            f'        "{level.path}") words="{" ".join(word for word, _ in level.words)}" ;;'
            for level in found
        )
        return BASH.format(paths=paths, cases=cases)
    if shell == "zsh":
        cases = "\n".join(
            f'        "{level.path}") found=({" ".join(map(_zsh, level.words))}) ;;'
            for level in found
        )
        return ZSH.format(paths=paths, cases=cases)
    return "".join(_fish(found))


def _zsh(word: tuple[str, str]) -> str:
    text = f"{word[0]}:{word[1]}" if word[1] else word[0]
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(found: list[Level]) -> Iterator[str]:
    yield "# Completion of holdfast for fish: for ~/.config/fish/completions/holdfast.fish\n"
    for level in found:
        begun = "".join(f"; and __fish_seen_subcommand_from {word}" for word in level.path.split())
        condition = begun.removeprefix("; and ") or "__fish_use_subcommand"
        for word, what in level.words:
            option = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            if word.startswith("-") and not word.startswith("--"):
                option = f"-s {word[1:]}"
            told = what.replace("\\", "\\\\").replace("'", "\\'")
            yield f"complete -c holdfast -n '{condition}' {option} -d '{told}'\n"
