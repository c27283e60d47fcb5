"""Where the password of a share link comes from: the environment, a file it names, or a prompt.
Never from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from peer.errors import UsageError

PASSWORD_VARIABLE: Final = "HOLDFAST_LINK_PASSWORD"  # noqa: S105 - a name
PASSWORD_FILE_VARIABLE: Final = "HOLDFAST_LINK_PASSWORD_FILE"  # noqa: S105 - a name
_FILE_LENGTH_MAX: Final = 4096


def ask_link_password(environment: Mapping[str, str] | None = None, *, is_new: bool = False) -> str:
    """The password; a new one is typed twice. Raises UsageError if there is nobody to ask."""
    environment = os.environ if environment is None else environment
    name = environment.get(PASSWORD_FILE_VARIABLE)
    if name is not None:
        password = _first_line(name)
    elif (given := environment.get(PASSWORD_VARIABLE)) is not None:
        password = given
    elif sys.stdin.isatty():
        password = getpass.getpass("Password of the link: ")
        if is_new and getpass.getpass("Once more: ") != password:
            raise UsageError("The two passwords differ. No link was made.")
    else:
        raise UsageError(
            "The link has a password, and there is no terminal to ask for it. Set"
            f" {PASSWORD_FILE_VARIABLE} to a file that holds it."
        )
    if not password:
        raise UsageError("The password is empty.")
    return password


def _first_line(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            line = file.read(_FILE_LENGTH_MAX + 1).split(b"\n", 1)[0].removesuffix(b"\r")
        return line.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The link's password cannot be read from {name}, which {PASSWORD_FILE_VARIABLE} names."
        ) from error
