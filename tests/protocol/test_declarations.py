from __future__ import annotations

import pytest

from protocol import declarations
from protocol.changesets import Changeset, decode_changeset
from protocol.declarations import Declarations
from protocol.log_outcomes import Accepted, Gap, Held
from protocol.logs import LogBook
from tests.protocol.people import Place
from tests.protocol.test_logs import compact, log_of, pair


def declared(place: Place) -> list[bytes]:
    return [declaration.wire for _, declaration in place.book.declarations()]


def begun() -> tuple[Place, Place, list[Changeset], Changeset]:
    """Somebody who was shown the floor of the first one's log and nothing of what was told again,
    and so could take what the second one wrote on top of what stood below.
    """
    one, two = pair()
    one.write()
    two.sync(one)
    rests = two.write().changeset
    again = compact(one)
    three = one.fork(two.keys)
    three.incarnation = bytes(8)
    three.book = LogBook(three.ledger, three.epochs)
    assert isinstance(three.receive(again[-1].wire), Gap)
    return one, three, again, rests


def log_up_to(one: Place, rests: Changeset) -> list[Changeset]:
    """All of the second one's log, in order."""
    known = map(decode_changeset, one.wires.values())
    return [*(c for c in known if c.log_id == rests.log_id), rests]


def test_what_rests_below_a_floor_is_passed_on_with_what_declares_it() -> None:
    one, three, again, rests = begun()
    log = log_up_to(one, rests)
    assert len(log) == 2
    assert all(isinstance(three.receive(changeset.wire), Accepted) for changeset in log)
    assert declared(three) == [again[-1].wire]

    # Whoever held the first one's log is gone. Without the declaration nothing goes on,
    four = three.fork(one.keys)
    four.incarnation = bytes(8)
    four.book = LogBook(four.ledger, four.epochs)
    assert isinstance(four.receive(log[0].wire), Accepted)
    assert isinstance(four.receive(log[1].wire), Held)
    # and with it all that there is is taken.
    four.receive(declared(three)[0])
    (ready,) = four.book.take_ready()
    assert isinstance(four.receive(ready), Accepted)
    assert four.book.frontier() == three.book.frontier()
    assert declared(four) == declared(three)


def test_it_outlives_a_restart_and_goes_with_the_last_that_was_told_again() -> None:
    one, three, again, rests = begun()
    values = dict(three.book.take_changed())
    three.book = LogBook(three.ledger, three.epochs)
    three.book.restore(values, [])
    assert declared(three) == [again[-1].wire]
    assert three.book.take_changed() == []

    for changeset in log_up_to(one, rests):
        three.receive(changeset.wire)
    assert isinstance(three.receive(again[0].wire), Accepted)
    assert declared(three) == [again[-1].wire]  # whoever begins there has to be shown it yet
    assert isinstance(three.receive(again[-1].wire), Accepted)
    assert declared(three) == []
    assert dict(three.book.take_changed())[f"declared:{log_of(one).hex()}"] == b""


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [compact(pair()[0])[-1], compact(pair()[1])[-1]]
    assert made[0].log_id != made[1].log_id
    kept = Declarations()
    monkeypatch.setattr(declarations, "DECLARATIONS_SIZE_MAX", len(made[0].wire))
    for changeset in [*made, made[0]]:  # the newest of a log replaces what was kept of it
        kept.keep(changeset)
    assert [declaration.wire for _, declaration in kept.all()] == [made[0].wire]
    kept.drop(made[0].log_id)
    kept.keep(made[1])
    assert [declaration.hash for _, declaration in kept.all()] == [made[1].hash]
