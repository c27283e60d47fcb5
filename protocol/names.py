"""File names: which are allowed, which are the same, and what the loser of a clash is called
(MERGE 11).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Final

from protocol.errors import BadName

NAME_BYTES_MAX: Final = 255
"""What ext4, APFS and NTFS all take for one name."""
LABEL_LENGTH_MAX: Final = 64

_CONFLICT = re.compile(r" \(conflict [^()]*\)")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,198}[A-Za-z0-9_-]")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?$")
_LABEL_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f/\\()<>:"|?*]')


def exact_key(name: str) -> str:
    """Two names with one key are one name: NFC."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def fold_key(name: str) -> str:
    """Two names with one key clash on a disk that folds case: NFC(casefold(NFD)), applied twice."""
    if name.isascii():
        return name.lower()
    decomposed = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", decomposed).casefold())


def check_name(name: str) -> None:
    """Raises BadName, with a sentence for the person, unless the name is safe on every platform
    (A34).
    """
    problem = name_problem(name)
    if problem is not None:
        raise BadName(problem)


def name_problem(name: str) -> str | None:
    """Why this name cannot be synced, or None."""
    if _PLAIN.fullmatch(name) and not _WINDOWS_DEVICE.match(name):
        return None  # the common case, for speed
    if name in ("", ".", ".."):
        return "the name is empty, '.' or '..'"
    if _FORBIDDEN.search(name):
        return "the name holds a slash, a backslash or a control character"
    if name[-1] in ". ":
        return "the name ends with a dot or a space, which Windows cannot keep"
    if _WINDOWS_DEVICE.match(name):
        return "the name is one of Windows' devices (CON, NUL, COM1, ...)"
    if not _is_unicode(name):
        return "the name is not valid Unicode"
    size = len(name.encode())
    if size > NAME_BYTES_MAX:
        return f"the name is {size} bytes long; {NAME_BYTES_MAX} is the most that every disk takes"
    if not unicodedata.is_normalized("NFC", name):
        return "the name is not in Unicode's NFC form"
    if name == ".holdfast":
        return "the name is Holdfast's own"
    return None


def _is_unicode(text: str) -> bool:
    """False where Python stands surrogates in for bytes that are no UTF-8 (argv, os.fsdecode)."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def check_label(label: str) -> None:
    """Raises BadName unless a device may call itself so; a label becomes part of conflict names."""
    if not label or len(label) > LABEL_LENGTH_MAX or label != label.strip(" ."):
        raise BadName(
            f"a device's name has 1 to {LABEL_LENGTH_MAX} characters, no spaces around it"
        )
    if not _is_unicode(label):
        raise BadName("a device's name is not valid Unicode")
    if _LABEL_FORBIDDEN.search(label) or not unicodedata.is_normalized("NFC", label):
        raise BadName("a device's name may not hold ( ) / \\ < > : \" | ? * or control characters")


def conflict_name(name: str, label: str, time_s: int, tag: str = "") -> str:
    """`stem (conflict LABEL YYYY-MM-DD HHMM).ext`, in UTC; an older mark is replaced, never
    nested.
    """
    name = without_conflict_mark(name)
    dot = name.rfind(".")
    stem, extension = (name[:dot], name[dot:]) if dot > 0 else (name, "")
    when = datetime.fromtimestamp(min(max(time_s, 0), 253402300799), UTC).strftime("%Y-%m-%d %H%M")
    mark = f" (conflict {label} {when}{' ' + tag if tag else ''})"
    room = NAME_BYTES_MAX - len((mark + extension).encode())
    if room < 1:
        extension, room = "", NAME_BYTES_MAX - len(mark.encode())
    stem = stem.encode()[:room].decode(errors="ignore")
    return exact_key(stem + mark + extension)


def without_conflict_mark(name: str) -> str:
    """The name before any conflict mark was put into it."""
    return _CONFLICT.sub("", name) if "(conflict " in name else name
