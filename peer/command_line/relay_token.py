"""Where the token of an invitation to a relay comes from: the environment, a file it names, or a
prompt. Never from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from peer.errors import UsageError
from protocol.relay_token import BadRelayToken, parse_token

TOKEN_VARIABLE: Final = "HOLDFAST_RELAY_TOKEN"  # noqa: S105 - a name
TOKEN_FILE_VARIABLE: Final = "HOLDFAST_RELAY_TOKEN_FILE"  # noqa: S105 - a name
_FILE_LENGTH_MAX: Final = 4096


def ask_token(environment: Mapping[str, str] | None = None) -> str:
    """The token's text; raises UsageError if it is none, or there is nobody to ask."""
    environment = os.environ if environment is None else environment
    name = environment.get(TOKEN_FILE_VARIABLE)
    if name is not None:
        text = _first_line(name)
    elif (given := environment.get(TOKEN_VARIABLE)) is not None:
        text = given
    elif sys.stdin.isatty():
        text = getpass.getpass("The relay's token: ")
    else:
        raise UsageError(
            "There is no terminal to ask for the relay's token. Set"
            f" {TOKEN_FILE_VARIABLE} to a file that holds it."
        )
    try:
        parse_token(text)
    except BadRelayToken as error:
        raise UsageError(str(error)) from error
    return text.strip()


def _first_line(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            return file.read(_FILE_LENGTH_MAX).split(b"\n", 1)[0].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The relay's token cannot be read from {name}, which {TOKEN_FILE_VARIABLE} names."
        ) from error
