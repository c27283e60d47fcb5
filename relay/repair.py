"""When a share is lost, and whose turn it is to rebuild it: the same at all nodes, without a word.

Nobody is told to repair. Each node that stands by for a pack sees for itself who is missed, and the
order of turns follows from the pack; so one node rebuilds one share, and a node that is away for an
hour and back again has nobody do anything. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crypto.shares import repair_rank
from protocol.storage_messages import STANDBY
from relay.node_rows import Holding

LATE_PARTS: Final = 6
"""A node is late after a sixth of the time after which it is lost: 4 h of a day."""


@dataclass(frozen=True, slots=True)
class RepairPolicy:
    """How patient a node is with others."""

    lost_s: int = 86_400
    """A day: most machines that are switched off are back by then, and the second half of the 48 h
    that are promised is left for the work."""
    meet_s: int = 900
    """Between two looks at each other node."""
    challenges: int = 4
    """Leaves that a node is asked for each time; 44 of them find a tenth that is gone."""
    packs_at_once: int = 64
    """Rebuilt between two looks, so that who comes back ends it."""

    @property
    def late_s(self) -> int:
        """Missed for so long, a node is late; what it does not show for so long is lost."""
        return self.lost_s // LATE_PARTS


def is_late(first_missed_s: int | None, now_s: int, policy: RepairPolicy) -> bool:
    """Whether a node that is missed since then is late."""
    return first_missed_s is not None and now_s - first_missed_s >= policy.late_s


def is_lost(first_missed_s: int | None, now_s: int, policy: RepairPolicy) -> bool:
    """Whether it is lost."""
    return first_missed_s is not None and now_s - first_missed_s >= policy.lost_s


def has_lost(holding: Holding, now_s: int, policy: RepairPolicy) -> bool:
    """Whether a holder has to be counted out for this share."""
    if is_lost(holding.first_missed_s, now_s, policy):
        return True
    failing_s = holding.failing_since_s
    return failing_s is not None and now_s - failing_s >= policy.late_s


def lost_numbers(
    holdings: Sequence[Holding], count: int, now_s: int, policy: RepairPolicy
) -> list[int]:
    """The shares of a pack, of `count`, that had holders and have none any more."""
    shares = [holding for holding in holdings if holding.number < count]
    good = {holding.number for holding in shares if not has_lost(holding, now_s, policy)}
    return sorted({holding.number for holding in shares} - good)


def turn_of(
    own_id: bytes,
    descriptor_id: bytes,
    count: int,
    holdings: Sequence[Holding],
    now_s: int,
    policy: RepairPolicy,
) -> int | None:
    """Which lost share of a pack this node has to rebuild now; None if none."""
    lost = lost_numbers(holdings, count, now_s, policy)
    busy = {each.node_id for each in holdings if each.number != STANDBY}
    free = {
        each.node_id
        for each in holdings
        if each.number == STANDBY
        and each.node_id not in busy
        and (each.node_id == own_id or not is_late(each.first_missed_s, now_s, policy))
    }
    ranked = sorted(free, key=lambda node_id: repair_rank(descriptor_id, node_id))
    turns = dict(zip(ranked, lost, strict=False))
    return turns.get(own_id)
