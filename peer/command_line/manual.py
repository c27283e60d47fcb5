"""The manual page, made from the grammar of the command line: `python -m manual` prints what
`peer/holdfast.1` holds, and a test compares the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

from peer.command_line.cli import make_parser
from peer.command_line.examples import EXAMPLES
from peer.errors import every_error

NOT_REPEATED: Final = frozenset({"help", "home", "json", "verbose"})
"""What every command takes is said once."""
_ENVIRONMENT: Final = (
    ("HOLDFAST_HOME", "The device's own directory, if --home is not given."),
    ("HOLDFAST_PASSPHRASE, HOLDFAST_PASSPHRASE_FILE",
     "The passphrase of the key file, or a file whose first line it is."),
    ("HOLDFAST_RELAY_TOKEN, HOLDFAST_RELAY_TOKEN_FILE", "The same of a closed relay's invitation."),
    ("HOLDFAST_LINK_PASSWORD, HOLDFAST_LINK_PASSWORD_FILE", "The same of a share link's password."),
    ("NO_COLOR", "If it is set and not empty, nothing is coloured."),
)  # fmt: skip
_FILES: Final = (
    ("HOME/config.toml", "What can be set; `holdfast config` shows all of it."),
    ("HOME/control.sock, HOME/control.token", "Where programs speak to the daemon, and the key."),
    ("FOLDER/.holdfast", "A folder's own directory: earlier versions, and what is on its way."),
    ("FOLDER/.holdfastignore", "What is not synced, in the language of .gitignore."),
)


def page(parser: argparse.ArgumentParser) -> str:
    """The whole page, in the macros of man(7)."""
    return "\n".join(_page(parser)) + "\n"


def _page(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield '.TH HOLDFAST 1 "" "Holdfast" "User Commands"'
    yield ".SH NAME"
    yield r"holdfast \- " + _roff("your folders, the same on all your devices")
    yield ".SH SYNOPSIS"
    yield r".B holdfast"
    yield r"[\-\-home \fIDIR\fR] \fICOMMAND\fR ... [\-\-json] [\-\-verbose]"
    yield ".SH DESCRIPTION"
    yield _roff(
        "Holdfast syncs directories between your devices, peer to peer and end-to-end encrypted."
        " Each device runs a daemon (`holdfast run`), which every other command asks."
    )
    yield ".SH OPTIONS OF EVERY COMMAND"
    for action in parser._actions:
        if action.dest in NOT_REPEATED - {"help"}:
            yield from _option(action)
    yield ".SH COMMANDS"
    for path, command in commands(parser):
        yield f".SS {_roff('holdfast ' + usage_of(path, command))}"
        yield _roff(_sentence(command.description or ""))
        for action in command._actions:
            if action.dest not in NOT_REPEATED and action.help and not _holds_commands(action):
                yield from _option(action)
        if path in EXAMPLES:
            yield ".PP"
            yield from _examples(path)
    yield ".SH EXAMPLES"
    yield from _examples("")
    yield ".SH EXIT STATUS"
    yield from _tagged("0", "It was done.")
    for error in every_error():
        if error.__module__ == "peer.errors":
            yield from _tagged(str(error.exit_code), error.sentence())
    for heading, entries in (("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        yield f".SH {heading}"
        for name, what in entries:
            yield from _tagged(name, what)


def commands(
    parser: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, by its words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                words = f"{path} {name}".strip()
                if command.get_default("act") is not None:
                    yield words, command
                yield from commands(command, words)


def usage_of(path: str, command: argparse.ArgumentParser) -> str:
    """The command with what it takes."""
    words = [path]
    for action in command._actions:
        if action.dest in NOT_REPEATED or _holds_commands(action):
            continue
        words.append(_name_of(action) if action.required else f"[{_name_of(action)}]")
    return " ".join(words)


def _holds_commands(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def _name_of(action: argparse.Action) -> str:
    value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.metavar
    if not action.option_strings:
        return str(value or action.dest)
    return action.option_strings[-1] + (
        "" if action.nargs == 0 else f" {value or action.dest.upper()}"
    )


def _option(action: argparse.Action) -> Iterator[str]:
    yield from _tagged(_name_of(action), (action.help or "").replace("%%", "%"))


def _tagged(name: str, what: str) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{_roff(name)}\fR"
    yield _roff(what)


def _examples(path: str) -> Iterator[str]:
    yield ".EX"
    for command, what in EXAMPLES[path]:
        yield _roff(f"holdfast {command}") + (_roff(f"    # {what}") if what else "")
    yield ".EE"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _roff(text: str) -> str:
    """Taken literally by roff."""
    out = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + out if out[:1] in (".", "'") else out


if __name__ == "__main__":
    print(page(make_parser()), end="")
