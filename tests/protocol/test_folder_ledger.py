from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import DeviceId, EntryId, UserId
from protocol import wire
from protocol.errors import BadLedger, NotEntitled, ProtocolError
from protocol.folder_actions import (
    Action,
    Admit,
    Epoch,
    Expel,
    FolderKind,
    Genesis,
    Grant,
    Leave,
    Remove,
    Role,
)
from protocol.folder_ledger import FolderLedger
from protocol.ledger import LedgerKind, Waiting, encode_genesis, ledger_id_of
from protocol.user_ledger import UserLedger
from tests.protocol.people import Person, Place
from tests.protocol.test_voiding import lies_on

ANNA, BERT, CARL = Person(11), Person(12), Person(13)


def people() -> tuple[Person, Person, Person]:
    """Fresh copies, since tests change their ledgers."""
    return Person(11), Person(12), Person(13)


def test_a_new_folder_has_its_root_one_device_and_an_epoch() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    ledger = place.ledger
    genesis = next(iter(ledger))
    assert ledger.folder_id == ledger_id_of(LedgerKind.FOLDER, genesis.encoded)
    assert ledger.genesis.root == anna.id
    assert ledger.genesis.kind is FolderKind.FILES
    assert ledger.role(anna.id) is Role.ROOT
    assert ledger.devices() == {
        anna.device.device_id: (anna.id, anna.ledger.live_devices()[anna.device.device_id])
    }
    assert ledger.epoch_ids() == [genesis.id]
    assert ledger.is_writer(anna.device.device_id)
    assert not ledger.is_writer(DeviceId(bytes(32)))


def test_a_device_of_a_member_admits_itself_and_nobody_else() -> None:
    """So a recovery kit is enough when no device is left that could (SPEC 8)."""
    anna, bert, _ = people()
    place = Place.found(anna)
    place.users[bert.id] = bert.ledger
    keys = anna.another_device()
    before = place.ledger.heads()
    place.ledger.admit_self(keys, anna.id, 10.0)
    assert place.ledger.is_writer(keys.device_id)
    assert not place.ledger.is_writer(keys.device_id, before)
    # What comes along with it, or a stranger's, has no place.
    other = anna.another_device()
    admit = Admit(other.device_id, tuple(anna.ledger.heads()))
    grant: Action = Grant(bert.id, Role.READ)
    cases: list[list[Action]] = [[admit, grant], [grant]]
    for actions in cases:
        with pytest.raises(BadLedger):
            place.ledger.author(other, [action.encode() for action in actions], 11.0)
    with pytest.raises(BadLedger):
        place.ledger.admit_self(bert.device, bert.id, 12.0)
    # Nor does a device that its user does not know, or has put out.
    anna.ledger.revoke(anna.device, other.device_id, 13.0)
    with pytest.raises(BadLedger):
        place.ledger.admit_self(other, anna.id, 14.0)


def test_a_further_device_of_the_user_is_owed_an_admission() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    keys = anna.another_device()
    assert not place.ledger.is_writer(keys.device_id)
    [admit] = place.ledger.admits_owed(anna.id)
    assert admit.device_id == keys.device_id
    place.act(admit)
    assert place.ledger.is_writer(keys.device_id)
    assert place.ledger.admits_owed(anna.id) == []
    assert place.ledger.certificate(keys.device_id) == anna.ledger.certificate(keys.device_id)


def test_roles_at_old_heads_do_not_change() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    place.join(bert, Role.WRITE)
    heads = place.ledger.heads()
    place.remove(bert)
    assert place.ledger.is_writer(bert.device.device_id, heads)
    assert place.ledger.role(bert.id, heads) is Role.WRITE
    assert not place.ledger.is_writer(bert.device.device_id)
    assert place.ledger.role(bert.id) is Role.NONE


@pytest.mark.row("A20")
@pytest.mark.parametrize("role", [Role.READ, Role.WRITE, Role.SHARE, Role.OWNER])
def test_what_a_role_may_not_do_is_refused_before_it_is_signed(role: Role) -> None:
    anna, bert, carl = people()
    place = Place.found(anna)
    other = place.join(bert, role)
    size = len(other.ledger)
    refused: list[Action] = [
        Grant(carl.id, role),
        Remove(anna.id),
        Genesis(FolderKind.FILES, bert.id, bytes(16)),
    ]
    if role < Role.SHARE:
        refused += [Grant(carl.id, Role.READ), Remove(carl.id)]
    for action in refused:
        with pytest.raises(NotEntitled):
            other.act(action)
    if role == Role.READ:
        with pytest.raises(NotEntitled):
            other.rotate()
    assert len(other.ledger) == size
    with pytest.raises(NotEntitled):
        place.act(Leave())


def test_an_admission_must_be_live_at_the_cited_heads() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    old = tuple(anna.ledger.heads())
    keys = anna.another_device()
    with pytest.raises(BadLedger):
        place.act(Admit(keys.device_id, old))
    with pytest.raises(BadLedger):
        place.act(Admit(bert.device.device_id, tuple(bert.ledger.heads())))  # not here
    place.users[bert.id] = bert.ledger
    with pytest.raises(BadLedger):
        place.act(Admit(keys.device_id, tuple(bert.ledger.heads())))


def test_an_entry_is_held_until_the_user_ledger_it_cites_is_here() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    lacking = {anna.id: UserLedger.restore(anna.ledger.export())}
    behind = FolderLedger.restore(place.ledger.export(), lacking)
    place.join(bert, Role.WRITE)
    behind.extend(place.ledger.export())
    assert behind.role(bert.id) is Role.WRITE
    assert bert.device.device_id not in behind.devices()
    lacking[bert.id] = bert.ledger
    assert len(behind.retry()) == 1
    assert behind.heads() == place.ledger.heads()
    assert bert.device.device_id in behind.devices()


def test_a_genesis_waits_for_its_roots_ledger() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    with pytest.raises(Waiting):
        FolderLedger.restore(place.ledger.export(), {bert.id: bert.ledger})


@pytest.mark.row("A01")
def test_a_genesis_is_by_a_live_device_of_its_root() -> None:
    anna, bert, _ = people()
    users = {anna.id: anna.ledger, bert.id: bert.ledger}
    genesis, admit, epoch = next(iter(Place.found(anna).ledger)).actions
    heads = list(bert.ledger.heads())
    cases = [
        (anna.device, [genesis, epoch]),
        (anna.device, [genesis, admit]),
        (anna.device, [admit, genesis, epoch]),
        (bert.device, [genesis, admit, epoch]),
        (bert.device, [genesis, Admit(bert.device.device_id, tuple(heads)).encode(), epoch]),
        (anna.device, [genesis, admit, epoch, epoch]),
    ]
    for keys, actions in cases:
        with pytest.raises(BadLedger):
            FolderLedger(encode_genesis(LedgerKind.FOLDER, keys, actions, 0), users)


def test_a_first_epoch_has_all_four_tiers() -> None:
    anna, _, _ = people()
    genesis, admit, epoch = next(iter(Place.found(anna).ledger)).actions
    core = wire.decode(epoch[1])
    core[3][3] = None
    poor = [genesis, admit, [epoch[0], wire.encode(core), epoch[2]]]
    with pytest.raises(BadLedger):
        FolderLedger(
            encode_genesis(LedgerKind.FOLDER, anna.device, poor, 0), {anna.id: anna.ledger}
        )


@pytest.mark.row("A04")
def test_epochs_name_epochs_of_their_past_in_their_folder() -> None:
    anna, _, _ = people()
    place, elsewhere = Place.found(anna), Place.found(anna)
    place.rotate()
    foreign = elsewhere.rotate().actions[0]
    orphan = wire.decode(foreign[1])
    orphan[1] = place.ledger.folder_id
    for action in (foreign, [foreign[0], wire.encode(orphan), foreign[2]]):
        with pytest.raises(BadLedger):
            place.ledger.author(anna.device, [action], 0)
    good = place.rotate().actions[0]
    with pytest.raises(BadLedger):
        place.ledger.author(anna.device, [good, good], 0)


def test_an_expel_cites_a_revocation_of_that_device() -> None:
    anna, _bert, _ = people()
    place = Place.found(anna)
    keys = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    revoking = anna.ledger.revoke(anna.device, keys.device_id, 0)
    with pytest.raises(BadLedger):
        place.ledger.author(anna.device, [Expel(anna.device.device_id, revoking.id).encode()], 0)
    with pytest.raises(BadLedger):
        place.ledger.author(anna.device, [Expel(keys.device_id, EntryId(bytes(32))).encode()], 0)
    assert place.ledger.is_revocation_pending(keys.device_id)
    assert place.ledger.expels_owed(anna.device.device_id) == [(keys.device_id, revoking.id)]
    place.rotate(Expel(keys.device_id, revoking.id))
    assert keys.device_id not in place.ledger.devices()
    assert not place.ledger.is_revocation_pending(keys.device_id)
    assert place.ledger.expels_owed(anna.device.device_id) == []


def test_an_expel_falls_with_the_revocation_it_rests_on() -> None:
    # A stolen device revokes and expels the other one; the kit says otherwise.
    anna, _, _ = people()
    place = Place.found(anna)
    stolen = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    place.epochs.wraps_owed()
    thief = place.fork(stolen)
    revoking = thief.users[anna.id].revoke(stolen, anna.device.device_id, 0)
    thief.rotate(Expel(anna.device.device_id, revoking.id))
    anna.ledger.revoke(anna.kit, stolen.device_id, 0)
    place.learn(thief)
    assert set(place.ledger.devices()) == {anna.device.device_id, stolen.device_id}
    [(device_id, entry_id)] = place.ledger.expels_owed(anna.device.device_id)
    place.rotate(Expel(device_id, entry_id))
    assert set(place.ledger.devices()) == {anna.device.device_id}


# ---------------------------------------------------------------- epochs


@pytest.mark.row("A18")
def test_a_removal_uncovers_the_epoch_until_the_next() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    place.join(bert, Role.WRITE)
    first = place.ledger.sealing_epoch()
    assert first == place.ledger.epoch_ids()[0]
    old_heads = place.ledger.heads()
    place.act(Remove(bert.id))
    assert place.ledger.sealing_epoch() is None
    assert place.ledger.rotation_owed()
    assert place.ledger.is_covering(first, old_heads)
    entry = place.rotate()
    assert place.ledger.sealing_epoch() == entry.id
    assert not place.ledger.rotation_owed()
    assert not place.ledger.is_covering(entry.id, old_heads)


def test_a_removal_with_its_epoch_in_one_entry_is_covered() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    place.join(bert, Role.WRITE)
    entry = place.remove(bert)
    assert place.ledger.sealing_epoch() == entry.id
    assert bert.id not in dict(place.ledger.core(entry.id).recipients)


def test_who_leaves_uncovers_the_epoch_too() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, Role.WRITE)
    other.act(Leave())
    place.learn(other)
    assert place.ledger.rotation_owed()
    place.rotate()
    assert not place.ledger.rotation_owed()


def test_whoever_left_is_to_be_removed_by_somebody_higher() -> None:
    anna, bert, carl = people()
    place = Place.found(anna)
    others = [place.join(bert, Role.SHARE), place.join(carl, Role.WRITE)]
    for other in others:
        other.act(Leave())
        place.learn(other)
    epoch = place.rotate()
    assert bert.id in dict(place.ledger.core(epoch.id).recipients)  # until then
    device = place.keys.device_id
    assert place.ledger.removals_owed(device) == sorted([bert.id, carl.id])
    assert others[0].ledger.removals_owed(others[0].keys.device_id) == []
    for person in (bert, carl):
        assert place.ledger.removals_owed(device) != []
        place.remove(person)
    assert place.ledger.removals_owed(device) == []
    assert place.ledger.role(bert.id) == Role.NONE
    assert not place.ledger.rotation_owed()


@pytest.mark.row("F30")
def test_of_two_rotations_at_once_the_smaller_id_seals() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, Role.WRITE)
    one, two = place.rotate(), other.rotate()
    place.learn(other)
    other.learn(place)
    assert place.ledger.sealing_epoch() == other.ledger.sealing_epoch() == min(one.id, two.id)
    third = place.rotate()
    assert set(place.ledger.core(third.id).parents) == {one.id, two.id}
    assert place.ledger.sealing_epoch() == third.id


@pytest.mark.row("F30")
def test_two_rotations_that_miss_each_others_removal_cover_nothing() -> None:
    anna, bert, carl = people()
    place = Place.found(anna)
    second = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    place.join(bert, Role.WRITE)
    place.join(carl, Role.WRITE)
    other = place.fork(second)
    place.remove(bert)
    other.remove(carl)
    place.learn(other)
    assert place.ledger.sealing_epoch() is None
    both = place.rotate()
    assert place.ledger.sealing_epoch() == both.id


@pytest.mark.row("A04")
def test_an_epoch_by_somebody_without_the_right_is_none() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    other = place.join(bert, Role.READ)
    # Forged past `act`: a reader's epoch, and one with owner tiers by a writer.
    borrowed = place.fork(anna.device)
    action = borrowed.rotate().actions[0]
    entry = other.ledger.author(bert.device, [action], 0)
    assert not other.ledger.is_covering(entry.id)
    assert other.ledger.sealing_epoch() == place.ledger.sealing_epoch()
    place.act(Grant(bert.id, Role.WRITE))
    writer = place.fork(bert.device)
    entry = writer.ledger.author(bert.device, [action], 0)
    assert not writer.ledger.is_covering(entry.id)


def test_an_epoch_for_a_device_that_its_author_knew_as_revoked_covers_nothing() -> None:
    anna, _bert, _ = people()
    place = Place.found(anna)
    keys = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    before = place.fork(anna.device)
    anna.ledger.revoke(anna.device, keys.device_id, 0)
    third = anna.another_device()
    place.learn(before)
    place.act(*place.ledger.admits_owed(anna.id))  # cites heads that have the revocation
    stale = before.rotate().actions[0]
    entry = place.ledger.author(anna.device, [stale], 0)
    assert not place.ledger.is_covering(entry.id)
    assert third.device_id in place.ledger.devices()
    assert place.ledger.rotation_owed()
    place.rotate()
    assert not place.ledger.rotation_owed()


def test_a_revoked_recipient_makes_a_rotation_owed() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    keys = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    place.rotate()
    assert not place.ledger.rotation_owed()
    anna.ledger.revoke(anna.device, keys.device_id, 0)
    assert place.ledger.rotation_owed()
    place.rotate()  # without an expel it is left out, and that is enough
    assert not place.ledger.rotation_owed()


def test_a_revoked_device_that_was_admitted_after_the_epoch_makes_a_rotation_owed() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    keys = anna.another_device()
    place.act(*place.ledger.admits_owed(anna.id))
    assert not place.ledger.rotation_owed()
    anna.ledger.revoke(anna.device, keys.device_id, 0)
    assert place.ledger.rotation_owed()


def test_recipients_are_live_devices_and_recovery_keys_with_their_tiers() -> None:
    anna, bert, _ = people()
    place = Place.found(anna)
    place.join(bert, Role.WRITE)
    tiers = {r.id: r.tiers for r in place.ledger.recipients()}
    assert tiers == {
        anna.id: 4, anna.device.device_id: 4, bert.id: 2, bert.device.device_id: 2,
    }  # fmt: skip
    bert.ledger.revoke(bert.kit, bert.device.device_id, 0)
    assert bert.device.device_id not in {r.id for r in place.ledger.recipients()}
    assert {r.id for r in place.ledger.recipients(without=[bert.id])} == {
        anna.id,
        anna.device.device_id,
    }


# ---------------------------------------------------------------- laws


def random_folder(random: Random) -> tuple[FolderLedger, dict[UserId, UserLedger]]:
    """A folder that three members change on their own devices, meeting now and then."""
    anna, bert, carl = people()
    place = Place.found(anna)
    places = [place, place.join(bert, Role.OWNER), place.join(carl, Role.SHARE)]
    places[1].learn(place)
    for _ in range(8):
        actor = random.choice(places)
        subject = random.choice([anna, bert, carl]).id
        grant, remove = Grant(subject, Role(random.randint(1, 4))), Remove(subject)
        choices: list[Grant | Remove] = [grant, remove, remove]
        action = random.choice(choices)
        actor.ledger.author(actor.keys, [action.encode()], 0)
        if random.random() < 0.3:
            try:
                actor.rotate()
            except NotEntitled:
                pass
        if random.random() < 0.4:
            random.choice(places).learn(actor)
    for other in places[1:]:
        place.learn(other)
    return place.ledger, place.users


@pytest.mark.row("A21")
@given(st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_any_order_of_delivery_gives_the_same_answers(seed: int) -> None:
    random = Random(seed)
    ledger, users = random_folder(random)
    genesis, *rest = ledger.export()
    random.shuffle(rest)
    other = FolderLedger(genesis, users)
    for data in rest:
        other.add(data)
    assert other.heads() == ledger.heads()
    assert other.state().roles == ledger.state().roles
    assert other.sealing_epoch() == ledger.sealing_epoch()
    for user in users.values():
        for device_id in user.live_devices():
            rules = [
                folder.void_rule(device_id, [entry.id for entry in ledger][:1])
                for folder in (ledger, other)
            ]
            assert all(
                rules[0].is_void(lies_on(seq)) == rules[1].is_void(lies_on(seq)) for seq in range(9)
            )


@given(st.binary(max_size=100))
@settings(max_examples=30)
def test_any_bytes_raise_only_protocol_errors(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        FolderLedger(data, {})


def test_an_epoch_action_keeps_its_bytes() -> None:
    anna, _, _ = people()
    place = Place.found(anna)
    entry = place.rotate()
    assert isinstance(entry.actions[0], list)
    core = place.ledger.core(entry.id)
    assert Epoch(core, entry.actions[0][2]).encode() == entry.actions[0]
