"""A number kept both inside a database and in a file beside it, so that a restored one is noticed.

Whoever copies a running or stopped database back later restores the number inside it, not the one
beside it. The number therefore moves on when the database is opened, when it is closed, and every
now and then between. A crash between the two writes looks like a restore; that costs an
incarnation, which is cheap, where the other mistake costs a log that forks.
"""

from __future__ import annotations

from pathlib import Path

from peer.device.small_file import write_durably

_LENGTH_MAX = 20


def read_generation(path: Path) -> int | None:
    """The number in the file; None if there is no such file or it holds something else."""
    try:
        with path.open("rb") as file:
            text = file.read(_LENGTH_MAX + 1)
    except FileNotFoundError:
        return None
    digits = text.strip()
    return int(digits) if digits.isdigit() and len(text) <= _LENGTH_MAX else None


def write_generation(path: Path, generation: int) -> None:
    """Replaces the number in one step; on disk when this returns. It goes before the database's."""
    write_durably(path, b"%d\n" % generation)
