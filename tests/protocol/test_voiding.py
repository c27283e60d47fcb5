from __future__ import annotations

from collections.abc import Callable

import pytest

from crypto.ids import EntryId, LogId
from crypto.keys import DeviceKeys
from protocol.folder_actions import Expel, Grant, Pin, Remove, Role
from protocol.folder_ledger import FolderLedger
from protocol.voiding import ALWAYS_STANDS, VoidRule
from tests.protocol.people import Person, Place

LOG = LogId(b"\7" * 16)


def people() -> tuple[Person, Person, Person]:
    """Fresh copies, since tests change their ledgers."""
    return Person(11), Person(12), Person(13)


def hash_of(seq: int) -> bytes:
    return bytes([seq]) * 32


def lies_on(seq: int, log_id: LogId = LOG, branch: bytes | None = None) -> Callable[[Pin], bool]:
    """What a log book says of a changeset on the one chain of `hash_of`."""

    def check(pin: Pin) -> bool:
        return pin.log_id == log_id and seq <= pin.seq and pin.hash == (branch or hash_of(pin.seq))

    return check


def is_void(ledger: FolderLedger, keys: DeviceKeys, heads: list[EntryId], seq: int) -> bool:
    return ledger.void_rule(keys.device_id, heads).is_void(lies_on(seq))


def test_a_rule_without_alternatives_voids_and_one_without_demands_does_not() -> None:
    assert VoidRule(()).is_void(lies_on(1))
    assert not ALWAYS_STANDS.is_void(lies_on(1))
    assert VoidRule((((),),)).is_void(lies_on(1))


@pytest.mark.row("A19")
def test_what_a_removed_user_wrote_beyond_the_pin_is_void() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    place.join(bert, Role.WRITE)
    heads = place.ledger.heads()
    assert not is_void(place.ledger, bert.device, heads, 99)
    place.act(Remove(bert.id, (Pin(LOG, 5, hash_of(5)),)))
    assert not is_void(place.ledger, bert.device, heads, 5)
    assert is_void(place.ledger, bert.device, heads, 6)
    rule = place.ledger.void_rule(bert.device.device_id, heads)
    assert rule.is_void(lies_on(3, LogId(b"\6" * 16)))
    assert rule.is_void(lies_on(3, branch=bytes(32)))
    assert not is_void(place.ledger, anna.device, heads, 99)


@pytest.mark.row("A21")
def test_pins_of_concurrent_removals_count_together() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    second = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    place.join(bert, Role.WRITE)
    heads = place.ledger.heads()
    other = place.fork(second)
    place.act(Remove(bert.id, (Pin(LOG, 5, hash_of(5)),)))
    other.act(Remove(bert.id, (Pin(LOG, 8, hash_of(8)),)))
    place.learn(other)
    assert not is_void(place.ledger, bert.device, heads, 8)
    assert is_void(place.ledger, bert.device, heads, 9)
    # A later removal is not concurrent: it knew, and vouches for nothing.
    place.act(Remove(bert.id, (Pin(LOG, 20, hash_of(20)),)))
    assert is_void(place.ledger, bert.device, heads, 9)


def test_a_removal_by_a_lower_level_voids_nothing() -> None:
    anna, bert, carl = people()
    place = Place.found(anna)
    place.join(bert, Role.OWNER)
    other = place.join(carl, Role.SHARE)
    heads = place.ledger.heads()
    other.ledger.author(carl.device, [Remove(bert.id).encode()], 0)
    assert not is_void(other.ledger, bert.device, heads, 9)


def test_writing_again_after_a_new_grant_is_not_void() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    place.join(bert, Role.WRITE)
    old = place.ledger.heads()
    place.remove(bert)
    place.act(Grant(bert.id, Role.WRITE))
    assert is_void(place.ledger, bert.device, old, 1)
    assert not is_void(place.ledger, bert.device, place.ledger.heads(), 1)


@pytest.mark.row("A19")
def test_an_accomplice_that_a_removed_admin_grants_beside_the_removal_writes_nothing() -> None:
    # At its own heads everything looks right: only the whole ledger shows that the grant is void.
    anna, bert, carl = people()
    place = Place.found(anna)
    other = place.join(bert, Role.SHARE)
    accomplice = other.join(carl, Role.WRITE)
    heads = accomplice.ledger.heads()
    assert accomplice.ledger.is_writer(carl.device.device_id, heads)
    assert not is_void(accomplice.ledger, carl.device, heads, 1)
    place.remove(bert)
    place.users[carl.id] = carl.ledger
    place.learn(accomplice)
    assert place.ledger.role(carl.id) is Role.NONE
    assert place.ledger.is_writer(carl.device.device_id, heads)
    assert is_void(place.ledger, carl.device, heads, 1)


@pytest.mark.row("A19")
def test_an_expelled_device_is_void_beyond_the_pin_and_its_sister_is_not() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    keys = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    heads = place.ledger.heads()
    revoking = anna.ledger.revoke(anna.kit, keys.device_id, 0)
    place.act(Expel(keys.device_id, revoking.id, (Pin(LOG, 5, hash_of(5)),)))
    assert not is_void(place.ledger, keys, heads, 5)
    assert is_void(place.ledger, keys, heads, 6)
    assert not is_void(place.ledger, anna.device, heads, 99)


@pytest.mark.row("A19")
def test_pins_by_a_device_that_was_expelled_itself_do_not_count() -> None:
    # Two stolen devices: one expels the other with a generous pin, beside the owner's expels.
    anna, _, _ = people()
    place = Place.found(anna)
    one, two = anna.another_device(), anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    heads = place.ledger.heads()
    revoking = [anna.ledger.revoke(anna.kit, keys.device_id, 0).id for keys in (one, two)]
    thief = place.fork(one)
    thief.act(Expel(two.device_id, revoking[1], (Pin(LOG, 99, hash_of(99)),)))
    for keys, entry_id in zip((one, two), revoking, strict=True):
        place.act(Expel(keys.device_id, entry_id, (Pin(LOG, 5, hash_of(5)),)))
    place.learn(thief)
    assert not is_void(place.ledger, two, heads, 5)
    assert is_void(place.ledger, two, heads, 6)
