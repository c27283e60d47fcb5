from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.epochs import Tier, record_key
from crypto.keys import DeviceKeys, device_id_of
from protocol.epochs import VARIANTS_MAX, EpochChain, OpeningKey, Wrap, create_folder, rotate
from protocol.errors import NotEntitled
from protocol.folder_actions import Expel, FolderKind, Grant, Remove, Role
from protocol.user_ledger import make_certificate
from tests.protocol.people import Person, Place


def people() -> tuple[Person, Person, Person]:
    return Person(21), Person(22), Person(23)


def chain_of(place: Place, key: OpeningKey, wraps: list[Wrap] | None = None) -> EpochChain:
    return EpochChain(place.ledger, key, place.epochs.wraps() if wraps is None else wraps)


def test_a_new_folder_opens_for_its_device_and_for_the_kit() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    epoch_id = place.epochs.sealing_epoch()
    assert epoch_id is not None
    secret = place.epochs.read_secret(epoch_id)
    assert secret is not None
    assert place.epochs.first_read_secret() == secret
    assert place.epochs.record_key(epoch_id) == record_key(secret)
    kit = chain_of(place, OpeningKey.of_kit(anna.kit, anna.id))
    assert kit.first_read_secret() == secret
    assert all(kit.tier_secret(epoch_id, tier) is not None for tier in Tier)


@pytest.mark.row("A01")
def test_only_a_live_device_of_the_user_makes_its_folders() -> None:
    anna, bert, _ = people()
    with pytest.raises(NotEntitled):
        create_folder(
            bert.device, anna.ledger, {anna.id: anna.ledger}, FolderKind.FILES, 0, anna.random
        )


def test_nobody_else_opens_anything() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    chain = chain_of(place, OpeningKey.of_device(bert.device))
    assert chain.first_read_secret() is None
    assert chain.folder_keys() is None
    assert chain.sealing_epoch() is None
    imposter = OpeningKey(anna.device.device_id, bert.device.dh_secret)
    assert chain_of(place, imposter).first_read_secret() is None


def test_a_device_admitted_later_gets_one_wrap_and_all_of_the_past() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    for _ in range(5):
        place.rotate()
    other = place.join(bert, Role.WRITE)
    for epoch_id in place.ledger.epoch_ids():
        assert other.epochs.read_secret(epoch_id) == place.epochs.read_secret(epoch_id)
    assert other.epochs.folder_keys() is not None
    assert place.epochs.wraps_owed() == []


@pytest.mark.row("A20")
@pytest.mark.parametrize("role", [Role.READ, Role.WRITE, Role.SHARE, Role.OWNER])
def test_a_role_gets_its_tiers_and_no_more(role: Role) -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, role)
    epoch_id = place.ledger.epoch_ids()[0]
    held = [other.epochs.tier_secret(epoch_id, tier) is not None for tier in Tier]
    assert held == [tier < role for tier in Tier]


def test_a_writers_rotation_renews_two_tiers_and_the_others_stay() -> None:
    anna, bert, carl = people()
    place = Place.found(anna)
    other = place.join(bert, Role.WRITE)
    new = other.rotate()
    place.learn(other)
    first = place.ledger.epoch_ids()[0]
    for tier in Tier:
        is_same = place.epochs.tier_secret(new.id, tier) == place.epochs.tier_secret(first, tier)
        assert is_same == (tier >= Tier.ADMIN)
    # An owner that joins now gets the tiers that the last owner made, too.
    late = place.join(carl, Role.OWNER)
    assert all(
        late.epochs.tier_secret(new.id, tier) == place.epochs.tier_secret(new.id, tier)
        for tier in Tier
    )


@pytest.mark.row("A18")
def test_who_was_removed_does_not_open_what_follows() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, Role.WRITE)
    entry = place.remove(bert)
    other.learn(place)
    assert other.epochs.read_secret(entry.id) is None
    kit = chain_of(place, OpeningKey.of_kit(bert.kit, bert.id))
    assert kit.read_secret(entry.id) is None
    assert kit.first_read_secret() is not None
    assert place.epochs.sealing_epoch() == entry.id


@pytest.mark.row("A18")
def test_an_expelled_device_does_not_open_what_follows_and_its_sister_does() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    sister, stolen = anna.another_device(), anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    place.epochs.wraps_owed()
    thief, good = place.fork(stolen), place.fork(sister)
    anna.ledger.revoke(anna.kit, stolen.device_id, 0)
    assert place.epochs.sealing_epoch() is None
    expels = [Expel(*owed) for owed in place.ledger.expels_owed(anna.device.device_id)]
    entry = place.rotate(*expels)
    thief.learn(place)
    good.learn(place)
    assert thief.epochs.read_secret(entry.id) is None
    assert good.epochs.read_secret(entry.id) == place.epochs.read_secret(entry.id)


@pytest.mark.row("F30")
def test_concurrent_rotations_both_stay_openable() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, Role.WRITE)
    one, two = place.rotate(), other.rotate()
    place.learn(other)
    other.learn(place)
    third = place.rotate()
    late = Person(24)
    newcomer = place.join(late, Role.READ)
    for epoch_id in (one.id, two.id, third.id):
        assert place.epochs.read_secret(epoch_id) is not None
        assert newcomer.epochs.read_secret(epoch_id) == place.epochs.read_secret(epoch_id)


@pytest.mark.row("A04")
def test_garbage_is_not_kept_and_the_good_wrap_still_opens() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, Role.WRITE)
    epoch_id = place.ledger.epoch_ids()[0]
    mine = bert.device.device_id
    chain = chain_of(other, OpeningKey.of_device(bert.device), [])
    [good] = [wrap for wrap in other.epochs.wraps() if wrap.recipient_id == mine]
    for place_ in range(0, len(good.wrapped), 7):
        bad = bytearray(good.wrapped)
        bad[place_] ^= 1
        assert not chain.offer(good._replace(wrapped=bytes(bad)))
    foreign = [w for w in other.epochs.wraps() if w.recipient_id != mine]
    assert not any(chain.offer(wrap._replace(recipient_id=mine)) for wrap in foreign)
    assert not chain.offer(good._replace(wrapped=b""))
    assert not chain.offer(good._replace(epoch_id=bytes(32)))  # type: ignore[arg-type]
    assert chain.read_secret(epoch_id) is None
    assert chain.offer(good)
    assert not chain.offer(good)
    assert chain.read_secret(epoch_id) == place.epochs.read_secret(epoch_id)


def test_wraps_for_others_are_kept_a_few_of_each() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    epoch_id = place.ledger.epoch_ids()[0]
    kept = [place.epochs.offer(Wrap(epoch_id, b"\1" * 32, bytes([i]) * 176)) for i in range(9)]
    assert kept == [True] * VARIANTS_MAX + [False] * (9 - VARIANTS_MAX)


@pytest.mark.row("A04")
def test_a_wrap_for_another_epoch_opens_nothing() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    first = place.ledger.epoch_ids()[0]
    second = place.rotate().id
    chain = chain_of(place, OpeningKey.of_device(anna.device), [])
    for wrap in place.epochs.wraps():
        if wrap.recipient_id == anna.device.device_id:
            other = second if wrap.epoch_id == first else first
            assert not chain.offer(wrap._replace(epoch_id=other))
    assert chain.first_read_secret() is None


@pytest.mark.row("A04")
def test_a_link_to_other_bytes_than_the_parent_committed_to_is_not_followed() -> None:
    # The author of the second epoch seals its own choice of "first secret" into the link.
    anna, bert, _ = people()
    place = Place.found(anna)
    place.join(bert, Role.WRITE)
    first = place.ledger.epoch_ids()[0]
    liar = EpochChain(place.ledger, OpeningKey.of_device(anna.device), place.epochs.wraps())
    liar._secrets[first] = type(liar._secrets[first])(b"\7" * 32)
    entry, wraps = rotate(liar, place.ledger, anna.device, 0, anna.random)
    victim = EpochChain(place.ledger, OpeningKey.of_device(bert.device), wraps)
    assert victim.read_secret(entry.id) is not None
    assert victim.first_read_secret() is None
    honest = [wrap for wrap in place.epochs.wraps() if wrap.epoch_id == first]
    assert any([victim.offer(wrap) for wrap in honest])
    assert victim.first_read_secret() == place.epochs.first_read_secret()


@pytest.mark.row("F30")
def test_an_epoch_that_was_given_to_nobody_does_not_stop_the_folder() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    evil = place.join(bert, Role.WRITE)
    first = place.epochs.sealing_epoch()
    entry = evil.rotate()
    place.ledger.extend(evil.ledger.export())  # and no wraps
    assert place.ledger.sealing_epoch() == entry.id
    assert place.epochs.sealing_epoch() == first
    place.remove(bert)
    assert place.epochs.sealing_epoch() == place.ledger.epoch_ids()[-1]
    assert place.ledger.core(place.ledger.epoch_ids()[-1]).parents == (first,)


@pytest.mark.row("A02")
def test_an_unusable_key_in_a_certificate_shuts_out_only_its_device() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    keys = DeviceKeys.generate(bert.random)
    object.__setattr__(keys, "dh_public", bytes(32))  # a point of low order
    object.__setattr__(keys, "device_id", device_id_of(keys.sign_public, bytes(32)))
    bert.ledger.add_device(bert.device, *make_certificate(keys, bert.id), 0)
    place.join(bert, Role.WRITE)
    entry = place.rotate()
    assert keys.device_id in dict(place.ledger.core(entry.id).recipients)
    held = {wrap.recipient_id for wrap in place.epochs.wraps([entry.id])}
    assert held == {anna.id, anna.device.device_id, bert.id, bert.device.device_id}


@pytest.mark.row("A20")
def test_a_reader_cannot_rotate() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, Role.READ)
    with pytest.raises(NotEntitled):
        other.rotate()


def test_who_opens_nothing_cannot_rotate() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    place.users[bert.id] = bert.ledger
    place.act(Grant(bert.id, Role.WRITE))
    place.act(*place.ledger.admits_owed(bert.id))
    other = place.fork(bert.device)
    with pytest.raises(NotEntitled):
        other.rotate()


@pytest.mark.row("F30")
@given(st.lists(st.sampled_from(["rotate", "remove", "join", "both"]), max_size=6))
@settings(max_examples=15, deadline=None)
def test_members_always_open_everything_and_agree(acts: list[str]) -> None:
    anna, bert, carl = people()
    place = Place.found(anna)
    other = place.join(bert, Role.OWNER)
    is_in = False
    for act in acts:
        if act in ("rotate", "both"):
            place.rotate()
        if act == "both":
            other.rotate()
        if act == "join" and not is_in:
            place.join(carl, Role.READ)
            is_in = True
        if act == "remove" and is_in:
            place.rotate(Remove(carl.id))
            is_in = False
        place.learn(other)
        other.learn(place)
    assert place.ledger.heads() == other.ledger.heads()
    for epoch_id in place.ledger.epoch_ids():
        secret = place.epochs.read_secret(epoch_id)
        assert secret is not None
        assert secret == other.epochs.read_secret(epoch_id)
