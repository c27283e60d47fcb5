"""What the disk would not take, though nothing there is other than planned: held back, so that it
stops nothing else, tried again ever more rarely, and told with its reason until it is done. Pure.

What is otherwise than planned is looked at and planned anew at once; but not for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from crypto.ids import NodeId
from peer.core.disk_types import Path
from peer.core.patience import Patience
from peer.core.rows import Row

RETRY_MAX_S: Final = 60.0
"""A permission is given within minutes or not at all."""
PASSING_MAX: Final = 25
"""So often in a row the disk may be otherwise than planned, in five seconds or more: people save a
few times, and are looked after within a second. What is in the way then is nothing that a look
shows, an ignored file for one.
"""


class Refusals:
    """The nodes that one folder's disk refuses to show as they are elsewhere."""

    def __init__(self) -> None:
        self.held: set[NodeId] = set()
        """Not to be tried now, nor what is to lie in a directory among them."""
        self.reasons: dict[NodeId, tuple[Path, str]] = {}
        """Where each was to be, and why it is not: those that are tried again included."""
        self.patience = Patience(RETRY_MAX_S)
        self._passing: dict[NodeId, int] = {}
        """How often in a row each was otherwise than planned."""

    def passes(self, node: NodeId) -> bool:
        """The disk was otherwise than planned for this node: whether to look and try at once."""
        count = self._passing[node] = self._passing.get(node, 0) + 1
        return count <= PASSING_MAX

    def note(self, node: NodeId, path: Path, reason: str, now: float) -> None:
        """The disk refused this node, for a reason that may last."""
        self.held.add(node)
        self.reasons[node] = path, reason
        self.patience.wait(now)

    def time_came(self, now: float) -> bool:
        """Whether what is held is to be tried again now."""
        if not self.patience.time_came(now):
            return False
        self.held.clear()
        return True

    def changed(self, nodes: Iterable[NodeId]) -> None:
        """Others wrote these nodes: what was refused may not be wanted any more."""
        if self.held:
            self.held.difference_update(nodes)
        self._forget_passing(nodes)

    def done(self, nodes: Iterable[NodeId]) -> None:
        """The disk shows these nodes now."""
        if self.reasons:
            for node in nodes:
                self.reasons.pop(node, None)
        self._forget_passing(nodes)

    def _forget_passing(self, nodes: Iterable[NodeId]) -> None:
        if self._passing:
            for node in nodes:
                self._passing.pop(node, None)

    def told(self) -> dict[Path, str]:
        """Path -> why it is not there."""
        return dict(self.reasons.values())

    def all_done(self) -> None:
        """Nothing is lacking any more."""
        self.held.clear()
        self.reasons.clear()
        self._passing.clear()
        self.patience.end()


def held_with_contents(
    held: Collection[NodeId], rows: Mapping[NodeId, Row], shown: Collection[NodeId]
) -> set[NodeId]:
    """What is held back, and of these rows what is to lie in a directory of it that is not shown
    yet: without it, it would be put into the root.
    """
    found = set(held)
    while True:  # once for each level
        below = {
            row.id
            for row in rows.values()
            if any(p.parent in found and p.parent not in shown for p in row.state.places)
        }
        if below <= found:
            return found
        found |= below
