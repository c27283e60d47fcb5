"""What the daemon says names commands of the shell, for it is read there too; a person in front of
the screen has keys for them.
"""

from __future__ import annotations

import re
from typing import Final

from peer.command_line.terminal import term_safe

KEYS: Final[tuple[tuple[str, str], ...]] = (
    (r"`holdfast conflicts`", "tab 4"),
    (r"`holdfast devices remove` it", "remove it by d on tab 2"),
    (r"`holdfast devices remove [^`]*`", "d on tab 2"),
    (r"`holdfast folder attach`", "t on tab 1"),
    (r"`holdfast folder list`", "tab 1"),
    (r"`holdfast folder add`", "a on tab 1"),
    (r"`holdfast answer [^`]* accept`", "y"),
    (r"`holdfast answer [^`]* restore`", "n"),
    (r"`holdfast answer[^`]*`", "y or n"),
    (r"`holdfast relay add[^`]*`", "a on tab 5"),
    (r"`holdfast notifications`", "tab 6"),
    (r"Start it with `holdfast run`", "Press r to run it"),
    (r"`holdfast run`", "r"),
    (r"`holdfast invite`", "i"),
    (r"`holdfast status`", "this screen"),
)
"""What stands in a sentence, and what stands there on the screen; the first that fits."""
_ANY: Final = re.compile("|".join(f"({pattern})" for pattern, _ in KEYS))


def in_keys(text: str) -> str:
    """A sentence of the daemon for the screen: safe for the terminal, keys instead of commands."""
    return term_safe(_ANY.sub(_in_key, text))


def _in_key(found: re.Match[str]) -> str:
    """What stands there instead. A tab at the beginning of a sentence takes a capital; a key stays
    as it is pressed.
    """
    said = KEYS[(found.lastindex or 1) - 1][1]
    begins = found.string[: found.start()].endswith((". ", "? ")) or found.start() == 0
    return said.capitalize() if begins and said.startswith("tab ") else said
