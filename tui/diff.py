"""What two texts have in common and where they differ, line by line. Pure.

Every line that leaves here is safe for a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from peer.command_line.terminal import term_safe

COMPARED_MAX: Final = 2_000
"""Lines that are compared between the first and the last that differ: the time grows with their
square, and 2,000 take half a second at worst.
"""
TAB: Final = " " * 4
LINE_LENGTH_MAX: Final = 500
"""Of a line, so much is shown."""
_MARK: Final = 7
"""Characters of a mark, as other programs have them."""


class Row(NamedTuple):
    """One line of one text or of both, beside each other."""

    left: str | None
    right: str | None

    @property
    def is_same(self) -> bool:
        """Whether both texts have it."""
        return self.left == self.right


class Compared(NamedTuple):
    """What comparing came to."""

    rows: list[Row]
    is_whole: bool
    """Whether all of both texts was compared."""


def text_of(data: bytes) -> str | None:
    """The text that these bytes are; None if they are none."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def can_be_edited(text: str) -> bool:
    """Whether a terminal can show all of it as it is: an editor must not lose what it hides."""
    return all(term_safe(line) == line for line in text.replace("\t", " ").split("\n"))


def shown(line: str) -> str:
    """A line as a terminal may show it."""
    cut = line if len(line) <= LINE_LENGTH_MAX else f"{line[:LINE_LENGTH_MAX]}…"
    return term_safe(cut.replace("\t", TAB))


def compare(left: str, right: str) -> Compared:
    """Both texts beside each other."""
    ours, theirs = left.split("\n"), right.split("\n")
    head, tail = _common(ours, theirs)
    middle_left, middle_right = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
    is_whole = max(len(middle_left), len(middle_right)) <= COMPARED_MAX
    rows = [Row(shown(line), shown(line)) for line in ours[:head]]
    rows += _differing(middle_left[:COMPARED_MAX], middle_right[:COMPARED_MAX])
    if is_whole:
        rows += [Row(shown(line), shown(line)) for line in ours[len(ours) - tail :]]
    return Compared(rows, is_whole)


def _common(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, int]:
    """How many lines are the same at the beginning, and at the end of what is left."""
    shorter = min(len(ours), len(theirs))
    head = next((n for n in range(shorter) if ours[n] != theirs[n]), shorter)
    left = shorter - head
    tail = next((n for n in range(left) if ours[-1 - n] != theirs[-1 - n]), left)
    return head, tail


def _differing(ours: Sequence[str], theirs: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for what, i1, i2, j1, j2 in SequenceMatcher(None, ours, theirs).get_opcodes():
        if what == "equal":
            rows += [Row(shown(line), shown(line)) for line in ours[i1:i2]]
            continue
        for number in range(max(i2 - i1, j2 - j1)):
            left = shown(ours[i1 + number]) if i1 + number < i2 else None
            right = shown(theirs[j1 + number]) if j1 + number < j2 else None
            # Two lines that are only shown alike must not be taken for the same.
            rows += [Row(left, None), Row(None, right)] if left == right else [Row(left, right)]
    return rows


def unified(rows: Sequence[Row]) -> list[Row]:
    """The same below each other: first what only one has, then what only the other has."""
    out: list[Row] = []
    held: list[Row] = []
    for row in rows:
        if row.is_same:
            out += held
            held = []
            out.append(row)
            continue
        if row.left is not None:
            out.append(Row(row.left, None))
        if row.right is not None:
            held.append(Row(None, row.right))
    return out + held


def next_change(rows: Sequence[Row], after: int) -> int | None:
    """Where the next piece begins that differs, below a row; from the top if there is none."""
    begins = [
        n for n, row in enumerate(rows) if not row.is_same and (n == 0 or rows[n - 1].is_same)
    ]
    return next((n for n in begins if n > after), begins[0] if begins else None)


def both_marked(left: str, right: str, left_name: str, right_name: str) -> str:
    """One text with all of both, for a person to choose from: what differs stands between marks."""
    ours, theirs = left.split("\n"), right.split("\n")
    head, tail = _common(ours, theirs)
    out = ours[:head]
    middle = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
    for what, i1, i2, j1, j2 in SequenceMatcher(None, *middle).get_opcodes():
        if what == "equal":
            out += middle[0][i1:i2]
            continue
        out += [f"{'<' * _MARK} {left_name}", *middle[0][i1:i2], "=" * _MARK]
        out += [*middle[1][j1:j2], f"{'>' * _MARK} {right_name}"]
    return "\n".join([*out, *ours[len(ours) - tail :]])


def is_marked(text: str) -> bool:
    """Whether a mark of `both_marked` is left in a text."""
    return any(line.startswith(("<" * _MARK + " ", ">" * _MARK + " ")) for line in text.split("\n"))
