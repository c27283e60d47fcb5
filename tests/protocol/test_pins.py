"""A pin is a position and a hash: what a removed device wrote there on another branch is void
(ATTACKS A19).
"""

from __future__ import annotations

import pytest

from crypto.ids import DeviceId, UserId
from protocol.changesets import Changeset
from protocol.folder_actions import Remove, Role
from protocol.log_outcomes import Accepted, Fault, ForkProof, Quarantined
from tests.protocol.people import Person, Place


class Removal:
    """Anna's two devices and Bert's, who signs two branches of his log; the sister removes him and
    pins one of them.
    """

    def __init__(self, length: int) -> None:
        anna, bert = Person(41), Person(42)
        self.one = Place.found(anna)
        self.bert = self.one.join(bert, Role.WRITE)
        keys = anna.another_device()
        self.one.act(*self.one.ledger.admits_owed(anna.id))
        self.one.epochs.wraps_owed()
        self.sister = self.one.fork(keys)
        self.bert.learn(self.one)
        before = self.bert.write([["before"]])
        for place in (self.one, self.sister):
            assert isinstance(place.receive(before.changeset.wire), Accepted)
        self.twin = twin_of(self.bert, before.changeset)
        self.pinned = [self.bert.write([["pinned", n]]).changeset for n in range(length)]
        self.other = [self.twin.write([["other", n]]).changeset for n in range(length)]
        for changeset in self.pinned:
            assert isinstance(self.sister.receive(changeset.wire), Accepted)

    @property
    def user_id(self) -> UserId:
        return self.one.ledger.devices()[DeviceId(self.bert.keys.device_id)][0]

    def remove(self) -> None:
        """The sister, who has the pinned branch, removes Bert; the first device hears of it."""
        pins = self.sister.book.pins([self.bert.keys.device_id])
        assert [(pin.seq, pin.hash) for pin in pins] == [
            (self.pinned[-1].slot.seq, self.pinned[-1].hash)
        ]
        self.sister.rotate(Remove(self.user_id, pins))
        self.one.learn(self.sister)


def twin_of(place: Place, begin: Changeset) -> Place:
    """The same device once more, as a copied disk makes it, with the same log so far."""
    twin = place.fork(place.keys)
    assert isinstance(twin.receive(begin.wire), Accepted)
    return twin


@pytest.mark.row("A19")
def test_the_other_branch_at_the_pinned_position_is_void() -> None:
    removal = Removal(1)
    removal.remove()
    received = removal.one.receive(removal.other[0].wire)
    assert isinstance(received, Quarantined)
    assert received.fault is Fault.VOID


def test_the_pinned_branch_counts() -> None:
    removal = Removal(2)
    removal.remove()
    for changeset in removal.pinned:
        assert isinstance(removal.one.receive(changeset.wire), Accepted)


def test_another_branch_that_was_accepted_is_void_from_where_they_part_at_the_latest() -> None:
    """Nothing of it may stay for being below the pin."""
    removal = Removal(3)
    for changeset in removal.other:
        assert isinstance(removal.one.receive(changeset.wire), Accepted)
    removal.remove()
    (change,) = removal.one.book.take_void_changes()
    assert change.before == 0
    assert 0 < change.after <= removal.other[0].slot.seq


@pytest.mark.row("A19")
def test_both_branches_of_a_removed_device_end_with_the_pinned_one() -> None:
    """Whatever came first, and whichever branch has the smaller hash."""
    for seen_first in ("pinned", "other"):
        removal = Removal(1)
        first, then = removal.pinned[0], removal.other[0]
        if seen_first == "other":
            first, then = then, first
        assert isinstance(removal.one.receive(first.wire), Accepted)
        removal.remove()
        received = removal.one.receive(then.wire)
        assert isinstance(received, ForkProof | Quarantined)
        assert removal.one.book.is_void(removal.other[0])
