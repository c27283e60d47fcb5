"""What a folder does not sync: the patterns of `.holdfastignore` in its root, and a few names.

The file has gitignore's syntax and is itself synced, so that all devices agree. Without it, only
these are left out: `.holdfast` in the root, and the lock and swap files that editors keep beside a
file while it is open and that mean nothing on another device (TRANSIENT).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pathspec import GitIgnoreSpec

from peer.core.disk_types import INTERNAL_NAME, Path

IGNORE_FILE: Final = ".holdfastignore"
IGNORE_BYTES_MAX: Final = 1 << 20
TRANSIENT: Final = (
    ".*.swp",  # vim
    ".*.swo",
    ".*.swx",
    ".~lock.*#",  # LibreOffice
    "~$*",  # Microsoft Office
    ".#*",  # Emacs
    ".goutputstream-*",  # GNOME, while it saves
)
_TRANSIENT_NAME: Final = re.compile(
    r"\..*\.sw[pox]|\.~lock\..*#|~\$.*|\.#.*|\.goutputstream-.*", re.DOTALL
)
_KNOWN_MAX: Final = 4_096
"""How many directories' answers are remembered."""


class IgnoreRules:
    """The rules of one folder, as its ignore file was when they were read."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        lines = [line for line in patterns if line.strip() and not line.startswith("#")]
        self._spec = GitIgnoreSpec.from_lines(lines) if lines else None
        self._directories: dict[Path, bool] = {}

    @property
    def has_patterns(self) -> bool:
        """Whether there is more to look at than names."""
        return self._spec is not None

    @classmethod
    def decode(cls, data: bytes) -> IgnoreRules:
        """Reads an ignore file's contents. Raises ValueError with a sentence when it cannot be
        understood.

        Whoever gets that goes on with the rules from before: with none, what was private would be
        synced.
        """
        if len(data) > IGNORE_BYTES_MAX:
            raise ValueError(f"{IGNORE_FILE} is larger than {IGNORE_BYTES_MAX >> 20} MiB.")
        try:
            return cls(data.decode("utf-8-sig").splitlines())
        except UnicodeDecodeError:
            raise ValueError(f"{IGNORE_FILE} is not text in UTF-8.") from None
        except ValueError as error:
            raise ValueError(f"{IGNORE_FILE} cannot be understood: {error}") from error

    def is_ignored(self, path: Path, is_directory: bool) -> bool:
        """Whether a path is left out, by itself or with a directory above it."""
        if not path:
            return False
        if path[0] == INTERNAL_NAME or self.is_name_ignored(path[-1]):
            return True
        spec = self._spec
        if spec is None:
            return any(map(self.is_name_ignored, path[:-1]))
        if self._is_directory_ignored(path[:-1]):
            return True
        if is_directory:
            return self._is_directory_ignored(path)
        return spec.match_file("/".join(path))

    def is_name_ignored(self, name: str) -> bool:
        """Whether a name alone says that it is left out, wherever it is."""
        return name[0] in ".~" and _TRANSIENT_NAME.fullmatch(name) is not None

    def _is_directory_ignored(self, path: Path) -> bool:
        """As git has it: nothing brings back what is in an ignored directory."""
        if not path:
            return False
        known = self._directories.get(path)
        if known is None:
            assert self._spec is not None
            known = (
                self._is_directory_ignored(path[:-1])
                or self.is_name_ignored(path[-1])
                or self._spec.match_file("/".join(path) + "/")
            )
            if len(self._directories) >= _KNOWN_MAX:
                self._directories.clear()
            self._directories[path] = known
        return known


class UnknownRules(IgnoreRules):
    """Those of a folder whose ignore file could not be read yet: anything may be private, so
    nothing is told but that file itself.
    """

    def is_ignored(self, path: Path, is_directory: bool) -> bool:
        """Whether a path is left out."""
        return path not in ((), (IGNORE_FILE,))
