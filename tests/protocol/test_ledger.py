from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.primitives import digest
from protocol import wire
from protocol.errors import BadLedger, BadSignature, LimitReached, NewerForm, ProtocolError, TooLong
from protocol.ledger import (
    HELD_MAX,
    Ledger,
    LedgerKind,
    encode_entry,
    indices,
    is_in,
    ledger_id_of,
)
from protocol.user_ledger import RevokeReason, UserAct, UserLedger
from tests.protocol.people import Person

ME = Person(1)
NOBODY = bytes(32)


def revoke_nobody(reason: int = 0) -> list[object]:
    return [int(UserAct.REVOKE), NOBODY, reason]


def copy(ledger: UserLedger) -> UserLedger:
    return UserLedger.restore(ledger.export())


def branches(seed: int, count: int) -> UserLedger:
    """A ledger grown on three replicas that meet now and then."""
    random = Random(seed)
    replicas = [copy(ME.ledger) for _ in range(3)]
    for number in range(count):
        replica = random.choice(replicas)
        replica.revoke(ME.device, random.choice([NOBODY]), number, RevokeReason.LOST)  # type: ignore[arg-type]
        if random.random() < 0.4:
            random.choice(replicas).extend(replica.export())
    for replica in replicas[1:]:
        replicas[0].extend(replica.export())
    return replicas[0]


def signed(encoded: bytes, ledger: Ledger = ME.ledger) -> bytes:
    return wire.encode([encoded, ME.device.sign("entry", ledger._id, encoded)])


def entry(**changes: object) -> bytes:
    fields = {
        "version": 1,
        "kind": 0,
        "ledger_id": ME.id,
        "parents": ME.ledger.heads(),
        "author": ME.device.device_id,
        "actions": [revoke_nobody()],
        "time": 0,
    } | changes
    return signed(wire.encode(list(fields.values())))


def test_ids_cover_kind_and_bytes() -> None:
    genesis = next(iter(ME.ledger))
    assert ME.id == digest("ledger", b"\0", genesis.encoded)
    assert ledger_id_of(LedgerKind.FOLDER, genesis.encoded) != ME.id
    assert genesis.id == digest("entry", ME.id, genesis.encoded)


@given(st.integers(0, 1 << 30), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_any_order_of_delivery_gives_the_same_ledger(seed: int, random: Random) -> None:
    whole = branches(seed, 10)
    genesis, *rest = whole.export()
    random.shuffle(rest)
    other = UserLedger(genesis)
    for data in rest:
        other.add(data)
        other.add(data)  # at least once, in any order
    assert other.heads() == whole.heads()
    assert set(other.export()) == set(whole.export())
    assert not other.missing()
    assert UserLedger.restore(other.export()).heads() == whole.heads()


def test_export_gives_what_somebody_lacks_parents_first() -> None:
    whole = branches(3, 12)
    old = copy(ME.ledger)
    lacking = whole.export(old.heads())
    assert len(lacking) == len(whole) - len(old)
    for data in lacking:
        assert len(old.add(data)) == 1
    assert whole.export(whole.heads()) == []


def test_a_past_holds_exactly_the_ancestors() -> None:
    whole = branches(5, 15)
    for item in whole:
        past = whole.past_of([item.id])
        reached, todo = set(), [item.id]
        while todo:
            reached.add(todo[-1])
            todo += whole.entry(todo.pop()).parents
        assert {e.id for i, e in enumerate(whole) if is_in(past, i)} == reached
        assert [i for i, e in enumerate(whole) if e.id in reached] == list(indices(past))


def test_an_entry_is_held_until_its_parents_come() -> None:
    source = copy(ME.ledger)
    first = source.revoke(ME.device, NOBODY, 1)  # type: ignore[arg-type]
    second = source.revoke(ME.device, NOBODY, 2)  # type: ignore[arg-type]
    other = copy(ME.ledger)
    assert other.add(second.wire) == []
    assert second.id not in other
    assert other.missing() == {first.id}
    assert other.add(first.wire) == [first, second]
    assert other.missing() == set()


@pytest.mark.row("A29")
def test_held_entries_are_bounded() -> None:
    other = copy(ME.ledger)
    for number in range(HELD_MAX):
        other.add(entry(parents=[bytes(31) + b"\1"], time=number))
    with pytest.raises(LimitReached):
        other.add(entry(parents=[bytes(31) + b"\1"], time=HELD_MAX))


def test_a_held_entry_that_proves_bad_is_dropped() -> None:
    source = copy(ME.ledger)
    first = source.revoke(ME.device, NOBODY, 1)  # type: ignore[arg-type]
    bad = bytearray(entry(parents=[first.id]))
    bad[-1] ^= 1
    other = copy(ME.ledger)
    assert other.add(bytes(bad)) == []
    assert other.add(first.wire) == [first]
    assert len(other) == len(ME.ledger) + 1
    assert other.missing() == set()


@pytest.mark.row("A09")
def test_every_flipped_byte_is_refused_or_held() -> None:
    good = entry()
    assert len(copy(ME.ledger).add(good)) == 1
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1
        other = copy(ME.ledger)
        try:
            placed = other.add(bytes(data))
        except ProtocolError:
            placed = []
        assert placed == []


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 1},
        {"ledger_id": bytes(32)},
        {"ledger_id": b"\1" * 32},
        {"parents": []},
        {"parents": ME.ledger.heads() * 2},
        {"parents": [bytes(31) + bytes([i]) for i in range(9)]},
        {"parents": [b"\2" * 32, b"\1" * 32]},
        {"parents": [b"short"]},
        {"author": b"\1" * 31},
        {"author": b"\1" * 32},
        {"actions": []},
        {"actions": [revoke_nobody()] * 65},
        {"actions": [[]]},
        {"actions": [7]},
        {"time": -1},
        {"time": 1 << 60},
        {"time": "now"},
    ],
)
def test_entries_of_another_shape_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadLedger):
        copy(ME.ledger).add(entry(**changes))


@pytest.mark.parametrize("changes", [{"version": 2}, {"actions": [[99]]}])
def test_entries_of_a_later_version_are_told_from_wrong_ones(changes: dict[str, object]) -> None:
    with pytest.raises(NewerForm):
        copy(ME.ledger).add(entry(**changes))


def test_an_entry_signed_by_another_device_is_refused() -> None:
    encoded = wire.decode(entry())[0]
    stranger = Person(2).device
    with pytest.raises(BadSignature):
        copy(ME.ledger).add(wire.encode([encoded, stranger.sign("entry", ME.id, encoded)]))


def test_a_signature_for_another_ledger_is_refused() -> None:
    encoded = wire.decode(entry())[0]
    with pytest.raises(BadSignature):
        copy(ME.ledger).add(wire.encode([encoded, ME.device.sign("entry", NOBODY, encoded)]))


def test_an_author_must_be_in_the_past_of_the_entry() -> None:
    # The device is known to the ledger, but not to what the entry rests on.
    genesis = next(iter(ME.ledger))
    with pytest.raises(BadLedger):
        copy(ME.ledger).add(entry(parents=[genesis.id]))


def test_an_entry_over_64_kib_is_neither_made_nor_taken() -> None:
    with pytest.raises(BadLedger):
        encode_entry(LedgerKind.USER, ME.id, ME.ledger.heads(), ME.id, [[1, bytes(65 << 10)]], 0)
    with pytest.raises(TooLong):
        copy(ME.ledger).add(entry(actions=[[2, bytes(66 << 10)]]))


def test_at_most_eight_heads_become_parents() -> None:
    ledger = copy(ME.ledger)
    for number in range(10):
        ledger.add(entry(time=number))
    assert len(ledger.heads()) == 10
    merged = ledger.revoke(ME.device, NOBODY, 0)  # type: ignore[arg-type]
    assert len(merged.parents) == 8
    assert len(ledger.heads()) == 3


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_any_bytes_raise_only_protocol_errors(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        copy(ME.ledger).add(data)
    with pytest.raises(ProtocolError):
        UserLedger(data)
