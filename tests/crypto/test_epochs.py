"""Tier secrets: committed, wrapped, linked; and what a dishonest author or holder cannot do."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from crypto.epochs import (
    WRAP_SIZE,
    FolderKeys,
    Tier,
    TierSecrets,
    core_hash,
    is_committed,
    link_open,
    link_seal,
    open_tiers,
    record_key,
    wrap_tiers,
    wraps_hash,
)
from crypto.errors import BadKeyError, OpenError
from crypto.ids import EntryId, FolderId
from crypto.keys import DeviceKeys
from crypto.primitives import derive, digest, wrap
from tests.crypto.seeded import Seeded
from tests.crypto.test_primitives import flips

FOLDER = FolderId(b"\x0f" * 32)
CORE = b"the core as it was received"
NONCE = b"\x0e" * 16
KEYS = DeviceKeys.generate(Seeded("member"))
SECRETS = TierSecrets.generate(Seeded("epoch"))
COMMITS = SECRETS.commitments(FOLDER, NONCE)


def opened(wrapped: bytes, **changed: object) -> TierSecrets:
    arguments: dict[str, object] = {
        "dh_secret": KEYS.dh_secret,
        "folder_id": FOLDER,
        "core": CORE,
        "recipient_id": KEYS.device_id,
        "wrapped": wrapped,
        "commits": COMMITS,
        "nonce": NONCE,
    }
    return open_tiers(**(arguments | changed))  # type: ignore[arg-type]


def wrapped_for(secrets: TierSecrets) -> bytes:
    return wrap_tiers(KEYS.dh_public, FOLDER, CORE, KEYS.device_id, secrets)


@pytest.mark.parametrize("tiers", [1, 2, 3, 4])
def test_a_recipient_gets_the_tiers_it_was_given(tiers: int) -> None:
    wrapped = wrapped_for(SECRETS.limited(tiers))
    assert len(wrapped) == WRAP_SIZE == 176
    assert opened(wrapped).in_order == (*SECRETS.in_order[:tiers], *[None] * (4 - tiers))


def test_a_writer_rotates_two_tiers_and_leaves_the_others() -> None:
    rotated = TierSecrets.generate(Seeded("writer"), tiers=2)
    commits = rotated.commitments(FOLDER, NONCE)
    assert commits[2:] == (None, None)
    assert opened(wrapped_for(rotated), commits=commits).in_order == rotated.in_order


@pytest.mark.row("A04")
def test_a_secret_that_nobody_committed_to_is_refused() -> None:
    wrapped = wrapped_for(SECRETS)
    for tier in Tier:
        commits = [None if at == tier else commit for at, commit in enumerate(COMMITS)]
        with pytest.raises(OpenError):
            opened(wrapped, commits=commits)


@pytest.mark.row("A22")
@pytest.mark.parametrize("tier", list(Tier))
def test_two_recipients_cannot_be_given_different_secrets(tier: Tier) -> None:
    # The author of an epoch wraps another secret to one member than to the rest (A22).
    false = list(SECRETS.in_order)
    false[tier] = b"\x66" * 32
    wrapped = wrapped_for(TierSecrets(false[0] or b"", *false[1:]))
    with pytest.raises(OpenError) as caught:
        opened(wrapped)
    assert caught.value.args == ()


@pytest.mark.row("A03")
def test_tiers_do_not_change_places() -> None:
    read, write, admin, owner = SECRETS.in_order
    assert write is not None
    with pytest.raises(OpenError):
        opened(wrapped_for(TierSecrets(write, read, admin, owner)))


@pytest.mark.row("A03")
def test_a_wrap_is_bound_to_folder_core_and_recipient() -> None:
    wrapped = wrapped_for(SECRETS)
    assert opened(wrapped).in_order == SECRETS.in_order
    for changed in (
        {"folder_id": FolderId(b"\1" * 32)},
        {"core": CORE + b"."},
        {"recipient_id": b"\1" * 32},
        {"dh_secret": DeviceKeys.generate(Seeded("other")).dh_secret},
        {"nonce": b"\1" * 16},
        {"nonce": NONCE + b"\0"},
        {"commits": COMMITS[:3]},
        {"commits": (None, None, None, None)},
    ):
        with pytest.raises(OpenError) as caught:
            opened(wrapped, **changed)
        assert caught.value.args == ()


@pytest.mark.row("A03")
def test_every_changed_byte_of_a_wrap_is_refused_with_one_error() -> None:
    for bad in flips(wrapped_for(SECRETS)):
        with pytest.raises(OpenError) as caught:
            opened(bad)
        assert caught.value.args == ()


@pytest.mark.row("A04")
@pytest.mark.parametrize("payload", [bytes(128), bytes(32) + b"\1" * 96], ids=["zeros", "no read"])
def test_an_empty_key_is_never_a_key(payload: bytes) -> None:
    context = (FOLDER, core_hash(CORE), KEYS.device_id)
    wrapped = wrap(KEYS.dh_public, "wrap", *context, plaintext=payload)
    with pytest.raises(OpenError):
        opened(wrapped)
    zero_commit = digest("tier commit", FOLDER, b"\0", bytes(32), NONCE)
    with pytest.raises(OpenError):
        opened(wrapped, commits=(zero_commit, None, None, None))


def test_a_bad_recipient_key_is_the_recipients_fault() -> None:
    with pytest.raises(BadKeyError):
        wrap_tiers(bytes(32), FOLDER, CORE, KEYS.device_id, SECRETS)


def test_links_lead_back_to_the_first_epoch() -> None:
    reads = [TierSecrets.generate(Seeded(depth)).read for depth in range(4)]
    ids = [EntryId(bytes([depth]) * 32) for depth in range(4)]
    links = [
        link_seal(child, FOLDER, parent_id, parent, os.urandom(32))
        for (parent, child), parent_id in zip(pairwise(reads), ids, strict=False)
    ]
    read = reads[-1]
    for parent_id, link in zip(reversed(ids[:-1]), reversed(links), strict=True):
        read = link_open(read, FOLDER, parent_id, link)
    assert read == reads[0]


@pytest.mark.row("A03")
def test_a_link_opens_in_its_place_only() -> None:
    parent, read = EntryId(b"\1" * 32), SECRETS.read
    link = link_seal(read, FOLDER, parent, b"\2" * 32, os.urandom(32))
    assert link_open(read, FOLDER, parent, link) == b"\2" * 32
    for wrong in (
        (b"\3" * 32, FOLDER, parent, link),
        (read, FolderId(b"\1" * 32), parent, link),
        (read, FOLDER, EntryId(b"\2" * 32), link),
        *((read, FOLDER, parent, bad) for bad in flips(link)),
    ):
        with pytest.raises(OpenError):
            link_open(*wrong)
    # A member who may seal anything seals something of another length, or an empty key.
    for secret in (b"\2" * 33, b"\2" * 31, b"", bytes(32)):
        made = link_seal(read, FOLDER, parent, secret, os.urandom(32))
        with pytest.raises(OpenError):
            link_open(read, FOLDER, parent, made)


@pytest.mark.row("A22")
def test_a_commitment_binds_folder_tier_secret_and_nonce() -> None:
    commit = COMMITS[Tier.READ]
    assert is_committed(FOLDER, Tier.READ, SECRETS.read, commit, NONCE)
    assert not is_committed(FolderId(bytes(32)), Tier.READ, SECRETS.read, commit, NONCE)
    assert not is_committed(FOLDER, Tier.WRITE, SECRETS.read, commit, NONCE)
    assert not is_committed(FOLDER, Tier.READ, b"\1" * 32, commit, NONCE)
    assert not is_committed(FOLDER, Tier.READ, SECRETS.read, commit, bytes(16))
    assert not is_committed(FOLDER, Tier.READ, SECRETS.read, None, NONCE)


def test_the_order_of_wraps_is_hashed() -> None:
    assert wraps_hash([b"a", b"b"]) != wraps_hash([b"b", b"a"])


def test_keys_of_a_folder_follow_from_its_first_epoch() -> None:
    folder = FolderKeys.from_first_read_secret(SECRETS.read)
    assert folder.chunk_id_key == derive(SECRETS.read, "chunk id")
    assert folder.cdc_seed == derive(SECRETS.read, "cdc seed")
    assert record_key(SECRETS.read) == derive(SECRETS.read, "record key")


def test_nothing_secret_is_shown() -> None:
    folder = FolderKeys.from_first_read_secret(SECRETS.read)
    shown = repr(SECRETS) + repr(folder)
    for secret in (*SECRETS.in_order, folder.chunk_id_key, folder.cdc_seed):
        assert repr(secret) not in shown
