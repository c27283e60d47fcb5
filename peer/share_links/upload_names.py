"""Names for what strangers put in: safe on every disk, and never one that is there already.

Pure. Of a sender's words only what a name can bear is kept; nothing of them decides where a file
goes.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Final

from protocol.names import NAME_BYTES_MAX, exact_key, name_problem

DEPTH_MAX: Final = 16
"""Directories of a sender's within each other; what is deeper is put into the last of them."""
LABEL_SHOWN_MAX: Final = 60
ROOM_FOR_NUMBER: Final = 8
"""Bytes of a name that are left for ` (9999)`."""
ENDING_BYTES_MAX: Final = 32
"""What is longer is no ending, but a name with a dot in it."""
NO_NAME: Final = "file"

_INVISIBLE: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Controls, what turns text around, what no system shows."""
_REFUSED: Final = re.compile(r'["*:<>?|\\/]')
"""What Windows' disks refuse; on others they would stand there as private characters."""


def safe_names(path: str) -> tuple[str, ...]:
    """A sender's path as names below one directory, each of which may stand there."""
    parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")] or [NO_NAME]
    names = [_safe(part) for part in parts]
    return (*names[: min(len(names) - 1, DEPTH_MAX)], names[-1])


def directory_name(label: str, when: datetime) -> str:
    """The directory for what one sender has put in on a day."""
    shown = shown_label(label)
    date = when.strftime("%Y-%m-%d")
    return _safe(f"From {shown} ({date})" if shown else f"Received {date}")


def shown_label(label: str) -> str:
    """Who it is from, in their own words, as far as these can be shown on a line."""
    return " ".join(_visible(label).split())[:LABEL_SHOWN_MAX].strip()


def numbered(name: str, number: int) -> str:
    """The name itself, and from 2 on with the number before its ending."""
    if number < 2:
        return name
    dot = name.rfind(".")
    stem, ending = (name[:dot], name[dot:]) if dot > 0 else (name, "")
    return f"{stem} ({number}){ending}"


def _safe(name: str) -> str:
    """One name that every disk takes; what begins with a dot would be hidden, or ours."""
    name = exact_key(_REFUSED.sub("_", _visible(name))).strip()
    name = re.sub(r"^\.+", "_", name).rstrip(". ")
    if len(name.encode()) > NAME_BYTES_MAX - ROOM_FOR_NUMBER:
        name = _shortened(name)
    if name and name_problem(name) is not None:
        name = f"_{name}"  # one of Windows' devices
    return NO_NAME if name_problem(name) is not None else name


def _shortened(name: str) -> str:
    dot = name.rfind(".")
    stem, ending = (name[:dot], name[dot:]) if dot > 0 else (name, "")
    if len(ending.encode()) > ENDING_BYTES_MAX:
        stem, ending = name, ""
    room = NAME_BYTES_MAX - ROOM_FOR_NUMBER - len(ending.encode())
    return exact_key(stem.encode()[:room].decode(errors="ignore").rstrip(". ") + ending)


def _visible(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE)
