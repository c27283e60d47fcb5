"""Where a recovery kit's text comes from: the environment, a file it names, or a prompt. Never from
the command line, which every user of the machine can read.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from peer.errors import BadRecoveryKit, UsageError
from protocol.errors import BadKit
from protocol.kit import KIT_TEXT_LENGTH, decode_kit

KIT_VARIABLE: Final = "HOLDFAST_KIT"
KIT_FILE_VARIABLE: Final = "HOLDFAST_KIT_FILE"
_FILE_LENGTH_MAX: Final = 64 << 10
_GROUPS: Final = re.compile(r"[ -]*([0-9A-Za-z?*]{6}[ -]+)*[0-9A-Za-z?*]{6}[ -]*")
"""A line of a printed kit: groups of six, and nothing else."""


def ask_kit(environment: Mapping[str, str] | None = None) -> bytes:
    """The secret of a kit; raises BadRecoveryKit, or UsageError if there is nobody to ask."""
    environment = os.environ if environment is None else environment
    name = environment.get(KIT_FILE_VARIABLE)
    if name is not None:
        text = read_sheet(name)
    elif (given := environment.get(KIT_VARIABLE)) is not None:
        text = given
    elif sys.stdin.isatty():
        text = _ask()
    else:
        raise UsageError(
            "There is no terminal to ask for the recovery kit. Set"
            f" {KIT_FILE_VARIABLE} to a file that holds it."
        )
    try:
        return decode_kit(text)
    except BadKit as error:
        raise BadRecoveryKit(str(error)) from error


def read_sheet(name: str) -> str:
    """The kit's characters out of a file that holds them, or of a whole printed sheet as text."""
    try:
        with Path(name).open("rb") as file:
            text = file.read(_FILE_LENGTH_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The recovery kit cannot be read from {name}, which {KIT_FILE_VARIABLE} names."
        ) from error
    lines = [line for line in text.splitlines() if _GROUPS.fullmatch(line)]
    return " ".join(lines) if lines else text


def _ask() -> str:
    """Asks for lines until there are enough characters; what is typed is not shown."""
    text = getpass.getpass("The recovery kit (? for what you cannot read): ")
    while text and len(re.sub(r"[\s-]", "", text)) < KIT_TEXT_LENGTH:
        more = getpass.getpass("and on: ")
        if not more:
            break
        text += " " + more
    return text
