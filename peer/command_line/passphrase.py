"""Where the passphrase of a key file comes from: the environment, a file it names, or a prompt.

Never from the command line: every user of the machine can read a process's arguments.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from peer.errors import KeyFileUnusable

PASSPHRASE_VARIABLE: Final = "HOLDFAST_PASSPHRASE"  # noqa: S105 - a name
PASSPHRASE_FILE_VARIABLE: Final = "HOLDFAST_PASSPHRASE_FILE"  # noqa: S105 - a name
_FILE_LENGTH_MAX: Final = 4096


def given_passphrase(environment: Mapping[str, str] | None = None) -> str | None:
    """The passphrase that the environment or the file it names gives; None if neither does.

    Of a file the first line counts. Raises KeyFileUnusable if the file cannot be read.
    """
    environment = os.environ if environment is None else environment
    name = environment.get(PASSPHRASE_FILE_VARIABLE)
    if name is None:
        return environment.get(PASSPHRASE_VARIABLE)
    try:
        with Path(name).open("rb") as file:
            line = file.read(_FILE_LENGTH_MAX + 1).split(b"\n", 1)[0].removesuffix(b"\r")
        if len(line) > _FILE_LENGTH_MAX:
            raise KeyFileUnusable(f"The first line of {name} is too long for a passphrase.")
        return line.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileUnusable(
            f"The passphrase cannot be read from {name}, which {PASSPHRASE_FILE_VARIABLE} names."
        ) from error


def ask_passphrase(*, is_new: bool = False) -> str:
    """The given passphrase, or else what a person types; a new one is typed twice.

    Raises KeyFileUnusable if there is nobody to ask.
    """
    given = given_passphrase()
    if given is not None:
        return _checked(given)
    if not sys.stdin.isatty():
        raise KeyFileUnusable(
            "The key file has a passphrase and there is no terminal to ask for it."
            f" Set {PASSPHRASE_FILE_VARIABLE} to a file that holds it."
        )
    passphrase = getpass.getpass("Passphrase: ")
    if is_new and getpass.getpass("Once more: ") != passphrase:
        raise KeyFileUnusable("The two passphrases differ. Nothing was changed.")
    return _checked(passphrase)


def _checked(passphrase: str) -> str:
    if not passphrase:
        raise KeyFileUnusable("The passphrase is empty.")
    return passphrase
