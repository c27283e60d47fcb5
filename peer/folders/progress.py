"""What a folder has been doing, for `status`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from peer.core.disk_types import Path
from peer.folders.index_store import Summary
from peer.status import FolderState

CHANGING: Final = "It keeps changing; waiting until it settles."
"""Why a file is not told to others while it is being written."""


@dataclass(slots=True)
class Progress:
    """A folder's state and troubles, as its task last left them."""

    state: FolderState = FolderState.SCANNING
    summary: Summary = field(default_factory=lambda: Summary(0, 0, 0, 0))
    problems: dict[Path, str] = field(default_factory=dict)
    """Why something on this disk is not told to others."""
    skipped: set[Path] = field(default_factory=set)
    """Those of them in which nothing is that could be told: listed, and no trouble."""
    undelivered: dict[Path, str] = field(default_factory=dict)
    """Why something of others is not on this disk; what is simply on its way is not listed."""
    is_read_back: bool = False
    """What super-nodes hold is being read: it is not known yet what of the rest they have."""
    trouble: str = ""
    """What is wrong with the folder as a whole."""
    on_state: Callable[[], None] | None = None
    """Who hears that the state is another one."""

    def __setattr__(self, name: str, value: object) -> None:
        is_new = name == "state" and value is not getattr(self, "state", value)
        object.__setattr__(self, name, value)
        if is_new and self.on_state is not None:
            self.on_state()

    @property
    def is_troubled(self) -> bool:
        """Whether something that should be synced is not."""
        return bool(self.trouble or self.undelivered or self.problems.keys() - self.skipped)
