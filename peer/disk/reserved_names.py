"""How a disk that keeps Windows' rules holds names with characters that it refuses.

`"`, `*`, `:`, `<`, `>`, `?` and `|` stand there as private characters, U+F000 and their own number,
as other programs that meet such disks write them (Cygwin, Samba, Services for Mac): so a person
sees the file, and other systems see it alike. It is undone whenever a name is read, and no record
knows of it: elsewhere the file has its true name.
"""

from __future__ import annotations

import re
from typing import Final

REFUSED: Final = '"*:<>?|'
"""What FAT, exFAT and NTFS refuse in a name, of what may be synced at all (`protocol.names`)."""

_SHIFT: Final = 0xF000
_ESCAPE: Final = "\uf0ff"
"""Before a character that would be taken for one of ours, and is a name's own."""
_IMAGES: Final = "".join(chr(_SHIFT + ord(character)) for character in REFUSED)
_TO_ENCODE: Final = re.compile(f"[{re.escape(REFUSED)}{_IMAGES}{_ESCAPE}]")
_TO_DECODE: Final = re.compile(f"{_ESCAPE}([{_IMAGES}{_ESCAPE}])|([{_IMAGES}])")


def encode_name(name: str) -> str:
    """The name as such a disk holds it."""
    if name.isascii() and not _TO_ENCODE.search(name):
        return name
    return _TO_ENCODE.sub(
        lambda found: chr(_SHIFT + ord(found[0])) if found[0] in REFUSED else _ESCAPE + found[0],
        name,
    )


def decode_name(name: str) -> str:
    """The true name of what such a disk holds; `encode_name` gives back what it was, if it was ever
    written by it (`is_encoded`).
    """
    if name.isascii():
        return name
    return _TO_DECODE.sub(lambda found: found[1] or chr(ord(found[2]) - _SHIFT), name)


def is_encoded(name: str) -> bool:
    """Whether a name on such a disk is the one spelling of a true name."""
    return name.isascii() or encode_name(decode_name(name)) == name
