"""What a removed user's devices wrote that does not count, and what of it does (CRYPTO 4.3).

A remover pins the last changeset that it had accepted of each of the target's logs. What the target
wrote without knowing of its removal, beyond every pin, is void on every replica: it is kept and
shown, and never applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from crypto.ids import DeviceId, UserId
from protocol.folder_actions import Pin, Role
from protocol.ledger import is_in
from protocol.membership import Cut, Facts, FolderState


class VoidRule(NamedTuple):
    """When what a device wrote at some heads stands: if each demand of one alternative is met.

    A demand is met if the changeset lies on the chain of one of its pins.
    """

    alternatives: tuple[tuple[tuple[Pin, ...], ...], ...]

    def is_void(self, lies_on: Callable[[Pin], bool]) -> bool:
        """Whether a changeset is void, told by its caller on which pins' chains it lies."""
        return not any(
            all(any(map(lies_on, pins)) for pins in demands) for demands in self.alternatives
        )


ALWAYS_STANDS: Final = VoidRule(((),))
"""One alternative that demands nothing."""


def make_void_rule(facts: Facts, state: FolderState, device_id: DeviceId, known: int) -> VoidRule:
    """The rule for what a device writes at heads with the past `known`, by all of `state`."""
    expels = list(state.expels.get(device_id, ()))
    alternatives: list[tuple[tuple[Pin, ...], ...]] = []
    for user_id in {a.user_id for a in facts.admissions.get(device_id, ())}:
        removals = _standing_removals(facts, state, user_id)
        cuts = [*expels, *removals]
        pinned = {cut.act: _vouched(facts, cut, cuts) for cut in cuts}
        unknown = [pinned[c.act] for c in expels if not is_in(known, c.act.entry)]
        if user_id == facts.root:
            alternatives.append(tuple(unknown))
            continue
        for act, grant in facts.grants.get(user_id, ()):
            # A grant that does not stand gives nothing, even to a changeset whose heads do not
            # show it yet: else a removed admin could go on through an accomplice it grants.
            if not is_in(known, act.entry) or grant.role < Role.WRITE:
                continue
            if state.levels.get(act.entry, 0) <= max(grant.role, Role.WRITE):
                continue
            against = [
                c for c in removals if c.level > grant.role and not facts.is_before(c.act, act)
            ]
            if not any(is_in(known, cut.act.entry) for cut in against):
                demands = [*unknown, *(pinned[cut.act] for cut in against)]
                alternatives.append(tuple(demands))
    return VoidRule(tuple(alternatives))


def _standing_removals(facts: Facts, state: FolderState, user_id: UserId) -> list[Cut]:
    levels = state.levels
    return [
        Cut(act, levels[act.entry], remove.pins)
        for act, remove in facts.removals.get(user_id, ())
        if levels.get(act.entry, 0) >= Role.SHARE
    ]


def _vouched(facts: Facts, cut: Cut, cuts: Sequence[Cut]) -> tuple[Pin, ...]:
    """The pins of a cut and of those concurrent with it: each was vouched for."""
    past = facts.past
    return tuple(
        pin
        for other in cuts
        if other.is_trusted
        and not is_in(past[cut.act.entry], other.act.entry)
        and not is_in(past[other.act.entry], cut.act.entry)
        for pin in other.pins
    )
