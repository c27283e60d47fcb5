from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys, KitKeys
from protocol import wire
from protocol.errors import BadLedger, ProtocolError
from protocol.user_ledger import (
    Certificate,
    UserAct,
    UserLedger,
    check_certificate,
    make_certificate,
)
from tests.protocol.people import Person

SOURCE = Random(7).randbytes
DEVICES = [DeviceKeys.generate(SOURCE) for _ in range(8)]
KITS = [KitKeys.from_secret(SOURCE(32)) for _ in range(3)]
FIRST = UserLedger.create(KITS[0], DEVICES[0], 0, SOURCE)
CERTIFICATES = [make_certificate(device, FIRST.user_id) for device in DEVICES]
Author = DeviceKeys | KitKeys


def start() -> UserLedger:
    return copy(FIRST)


def copy(ledger: UserLedger) -> UserLedger:
    return UserLedger.restore(ledger.export())


def add(ledger: UserLedger, author: Author, number: int) -> None:
    ledger.add_device(author, *CERTIFICATES[number], 0)


def live(ledger: UserLedger) -> set[int]:
    ids = [device.device_id for device in DEVICES]
    return {ids.index(device_id) for device_id in ledger.live_devices()}


def revoke(ledger: UserLedger, author: Author, number: int) -> None:
    ledger.revoke(author, DEVICES[number].device_id, 0)


def merge(*ledgers: UserLedger) -> None:
    for ledger in ledgers:
        for other in ledgers:
            ledger.extend(other.export())


def test_a_new_user_has_one_live_device_with_its_certificate() -> None:
    ledger = start()
    [(device_id, certificate)] = ledger.live_devices().items()
    assert device_id == DEVICES[0].device_id == certificate.device_id
    assert certificate.user_id == ledger.user_id
    assert ledger.state().identity.recovery_pk == KITS[0].recovery_public


def test_any_live_device_and_the_kit_may_add() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    add(ledger, DEVICES[1], 2)
    add(ledger, KITS[0], 3)
    assert live(ledger) == {0, 1, 2, 3}


@pytest.mark.row("A01", "A20")
def test_a_device_that_was_never_added_has_no_say() -> None:
    with pytest.raises(BadLedger):
        add(start(), DEVICES[5], 5)


def test_a_revoked_device_adds_nobody() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    revoke(ledger, DEVICES[0], 1)
    add(ledger, DEVICES[1], 2)
    assert live(ledger) == {0}
    assert DEVICES[1].device_id in ledger.state().revocations


def test_what_a_device_did_before_its_revocation_stands() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    add(ledger, DEVICES[1], 2)
    revoke(ledger, KITS[0], 1)
    assert live(ledger) == {0, 2}


def test_what_a_device_did_beside_its_revocation_does_not() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    other = copy(ledger)
    revoke(ledger, DEVICES[0], 1)
    add(other, DEVICES[1], 2)
    add(other, DEVICES[2], 3)
    merge(ledger, other)
    assert live(ledger) == live(other) == {0}


@pytest.mark.row("A21")
def test_two_devices_that_revoke_each_other_are_both_out() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    other = copy(ledger)
    revoke(ledger, DEVICES[0], 1)
    revoke(other, DEVICES[1], 0)
    merge(ledger, other)
    assert live(ledger) == set()


def test_a_device_that_knows_it_is_revoked_revokes_nobody() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    revoke(ledger, DEVICES[0], 1)
    revoke(ledger, DEVICES[1], 0)
    assert live(ledger) == {0}


@pytest.mark.row("A21")
def test_the_kit_decides_between_two_devices() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    other, kit = copy(ledger), copy(ledger)
    revoke(ledger, DEVICES[0], 1)
    revoke(other, DEVICES[1], 0)
    revoke(kit, KITS[0], 1)
    merge(ledger, other, kit)
    # The thief's revocation was made beside the kit's, so it is void.
    assert live(ledger) == live(other) == live(kit) == {0}


def test_state_at_old_heads_does_not_change() -> None:
    ledger = start()
    add(ledger, DEVICES[0], 1)
    heads = ledger.heads()
    revoke(ledger, KITS[0], 1)
    assert DEVICES[1].device_id in ledger.live_devices(heads)
    assert DEVICES[1].device_id not in ledger.live_devices()
    with pytest.raises(KeyError):
        ledger.live_devices([bytes(32)])  # type: ignore[list-item]


def test_a_new_identity_takes_over_and_the_user_id_stays() -> None:
    ledger = start()
    behind = copy(ledger)
    ledger.reidentify(KITS[0], KITS[1], 0)
    add(ledger, KITS[1], 1)
    assert live(ledger) == {0, 1}
    assert ledger.state().identity.identity_pk == KITS[1].identity_public
    # Who saw the old kit comes too late, also with entries that look older.
    add(behind, KITS[0], 2)
    revoke(behind, KITS[0], 0)
    merge(ledger, behind)
    assert live(ledger) == {0, 1}


def test_of_two_new_identities_at_once_neither_counts() -> None:
    ledger = start()
    other = copy(ledger)
    ledger.reidentify(KITS[0], KITS[1], 0)
    other.reidentify(KITS[0], KITS[2], 0)
    merge(ledger, other)
    assert ledger.state().identity.identity_pk == KITS[0].identity_public
    add(ledger, KITS[1], 1)
    assert live(ledger) == {0}
    add(ledger, KITS[0], 2)
    assert live(ledger) == {0, 2}


@pytest.mark.row("A02")
def test_a_new_identity_signs_for_itself_and_no_old_one_returns() -> None:
    ledger = start()
    keys = [KITS[1].identity_public, KITS[1].recovery_public, KITS[1].emergency_public]
    for signature in (KITS[0].sign("identity", ledger.user_id, *keys), bytes(64)):
        with pytest.raises(BadLedger):
            ledger.author(KITS[0], [[int(UserAct.REIDENTIFY), *keys, signature]], 0)
    ledger.reidentify(KITS[0], KITS[1], 0)
    with pytest.raises(BadLedger):
        ledger.reidentify(KITS[1], KITS[0], 0)


def test_a_device_may_not_speak_for_the_identity() -> None:
    ledger = start()
    keys = [KITS[1].identity_public, KITS[1].recovery_public, KITS[1].emergency_public]
    signature = KITS[1].sign("identity", ledger.user_id, *keys)
    ledger.author(DEVICES[0], [[int(UserAct.REIDENTIFY), *keys, signature]], 0)
    assert ledger.state().identity.identity_pk == KITS[0].identity_public


@pytest.mark.row("A01")
def test_certificates_are_of_this_user_and_signed_by_their_device() -> None:
    ledger = start()
    encoded, signature = CERTIFICATES[1]
    assert check_certificate(encoded, signature, ledger.user_id).dh_pk == DEVICES[1].dh_public
    other = Person(3)
    foreign = make_certificate(DEVICES[1], other.id)
    swapped = Certificate(ledger.user_id, DEVICES[1].sign_public, DEVICES[2].dh_public).encode()
    wrong = [
        foreign,
        (encoded, bytes(64)),
        (encoded, signature[:63]),
        (swapped, signature),
        (wire.encode([1, ledger.user_id, b"short", b"short"]), signature),
        (b"", signature),
    ]
    for certificate in wrong:
        with pytest.raises(BadLedger):
            ledger.add_device(DEVICES[0], *certificate, 0)
    assert live(ledger) == {0}


def test_an_entry_with_one_bad_action_leaves_no_trace() -> None:
    ledger = start()
    good = [int(UserAct.ADD), *CERTIFICATES[1]]
    with pytest.raises(BadLedger):
        ledger.author(DEVICES[0], [good, [int(UserAct.REVOKE), b"short", 0]], 0)
    assert live(ledger) == {0}
    assert ledger.certificate(DEVICES[1].device_id) is None


@pytest.mark.row("A01")
def test_a_genesis_names_the_key_that_signs_it() -> None:
    genesis = FIRST.export()[0]
    encoded, _ = wire.decode(genesis)
    with pytest.raises(ProtocolError):
        UserLedger(wire.encode([encoded, KITS[1].sign("entry", FIRST.user_id, encoded)]))
    with pytest.raises(ProtocolError):
        UserLedger(FIRST.export()[1])


def test_has_revocation_names_entry_and_device() -> None:
    ledger = start()
    made = ledger.revoke(KITS[0], DEVICES[0].device_id, 0)
    assert ledger.has_revocation(made.id, DEVICES[0].device_id)
    assert not ledger.has_revocation(made.id, DEVICES[1].device_id)
    assert not ledger.has_revocation(ledger.export()[0][:32], DEVICES[0].device_id)  # type: ignore[arg-type]


# ---------------------------------------------------------------- fuzz


def random_act(
    ledger: UserLedger, random: Random, authors: list[Author], devices: list[int]
) -> None:
    author, number = random.choice(authors), random.choice(devices)
    try:
        if random.random() < 0.55:
            add(ledger, author, number)
        else:
            revoke(ledger, author, number)
    except BadLedger:
        pass  # an author that is not in this replica's past


def grown(random: Random, acts: int) -> UserLedger:
    """A ledger grown on two replicas by honest and dishonest devices alike, without the kit."""
    replicas = [start(), start()]
    for _ in range(acts):
        replica = random.choice(replicas)
        random_act(replica, random, list(DEVICES[:6]), list(range(6)))
        if random.random() < 0.3:
            merge(*replicas)
    merge(*replicas)
    return replicas[0]


def backdated(ledger: UserLedger, random: Random, thief: int, acts: int) -> UserLedger:
    """What a thief and accomplices make up on an old state of the ledger that the thief is in."""
    entries = ledger.export()
    old = UserLedger.restore(entries[: random.randint(2, len(entries))])
    gang: list[Author] = [DEVICES[thief], DEVICES[6], DEVICES[7]]
    for _ in range(acts):
        random_act(old, random, gang, list(range(8)))
    return old


@pytest.mark.row("A19")
@given(st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None)
def test_after_the_kit_revoked_a_thief_no_backdated_chain_changes_anything(seed: int) -> None:
    random = Random(seed)
    ledger = grown(random, 6)
    thief = random.randrange(6)
    chain = backdated(ledger, random, thief, 6)
    ledger.revoke(KITS[0], DEVICES[thief].device_id, 0)
    before = live(ledger)
    ledger.extend(chain.export())
    assert live(ledger) == before


@pytest.mark.row("A19")
@given(st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None)
def test_after_a_device_revoked_a_thief_no_backdated_chain_gains_anything(seed: int) -> None:
    random = Random(seed)
    ledger = start()
    for number in range(1, 4):
        add(ledger, DEVICES[random.randrange(number)], number)
    chain = backdated(ledger, random, 3, 6)
    revoke(ledger, DEVICES[random.randrange(3)], 3)
    before = live(ledger)
    ledger.extend(chain.export())
    assert live(ledger) <= before


@pytest.mark.row("A21")
@given(st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_any_order_of_delivery_gives_the_same_devices(seed: int) -> None:
    random = Random(seed)
    ledger = grown(random, 8)
    ledger.revoke(KITS[0], DeviceId(DEVICES[random.randrange(6)].device_id), 0)
    ledger.extend(backdated(ledger, random, 2, 4).export())
    genesis, *rest = ledger.export()
    random.shuffle(rest)
    other = UserLedger(genesis)
    other.extend(rest)
    assert live(other) == live(ledger)
