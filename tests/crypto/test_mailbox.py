"""A mailbox's keys, names and seals: what follows from what, and what opens nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.changesets import padded_size
from crypto.errors import OpenError, SignatureError
from crypto.ids import RelayId
from crypto.mailbox import (
    GROUP_SIZE,
    ITEM_SIZE_MAX,
    NAME_SIZE,
    PLAIN_SIZE_MAX,
    Area,
    Capability,
    MailboxKeys,
    check_proof,
    tag_of,
)
from crypto.primitives import SEAL_OVERHEAD

READ, WRITE = b"r" * 32, b"w" * 32
RELAY, OTHER_RELAY = RelayId(b"1" * 32), RelayId(b"2" * 32)
LINK = b"l" * 32
NAME = b"n" * NAME_SIZE
KEYS = MailboxKeys.from_secrets(READ, WRITE, RELAY)


@pytest.mark.row("A17")
def test_two_relays_and_two_epochs_have_nothing_in_common() -> None:
    boxes = [
        MailboxKeys.from_secrets(read, write, relay)
        for read, write, relay in [
            (READ, WRITE, RELAY),
            (READ, WRITE, OTHER_RELAY),
            (b"s" * 32, WRITE, RELAY),
            (READ, b"v" * 32, RELAY),
        ]
    ]
    assert len({box.tag for box in boxes}) == 4
    assert len({box.group(Area.CHANGESETS, b"the same") for box in boxes}) == 4
    one, elsewhere = boxes[:2]
    assert not {one.read_public, one.write_public} & {elsewhere.read_public, elsewhere.write_public}


def test_who_has_the_secrets_finds_the_same() -> None:
    again = MailboxKeys.from_secrets(READ, WRITE, RELAY)
    assert again.tag == KEYS.tag == tag_of(RELAY, KEYS.read_public, KEYS.write_public)
    assert again.group(Area.CONTENTS, b"x") == KEYS.group(Area.CONTENTS, b"x")
    assert len(KEYS.group(Area.CONTENTS, b"x")) == GROUP_SIZE
    assert KEYS.group(Area.CONTENTS, b"x") != KEYS.group(Area.CHANGESETS, b"x")


@pytest.mark.row("A18")
def test_a_proof_is_good_for_one_capability_on_one_link_at_one_relay() -> None:
    proof = KEYS.prove(Capability.WRITE, LINK)
    check_proof(KEYS.write_public, proof, Capability.WRITE, RELAY, KEYS.tag, LINK)
    for public, capability, relay, tag, link in [
        (KEYS.read_public, Capability.WRITE, RELAY, KEYS.tag, LINK),
        (KEYS.write_public, Capability.READ, RELAY, KEYS.tag, LINK),
        (KEYS.write_public, Capability.WRITE, OTHER_RELAY, KEYS.tag, LINK),
        (KEYS.write_public, Capability.WRITE, RELAY, b"t" * 16, LINK),
        (KEYS.write_public, Capability.WRITE, RELAY, KEYS.tag, b"m" * 32),
    ]:
        with pytest.raises(SignatureError):
            check_proof(public, proof, capability, relay, tag, link)


def test_no_other_keys_have_the_tag() -> None:
    other = MailboxKeys.from_secrets(b"s" * 32, WRITE, RELAY)
    assert tag_of(RELAY, other.read_public, KEYS.write_public) != KEYS.tag
    assert tag_of(RELAY, KEYS.write_public, KEYS.read_public) != KEYS.tag


@given(plain=st.binary(max_size=2000), area=st.sampled_from(Area))
def test_what_was_sealed_opens_in_its_place_alone(plain: bytes, area: Area) -> None:
    sealed = KEYS.seal(area, NAME, plain, b"x" * 32)
    assert KEYS.open(area, NAME, sealed) == plain
    with pytest.raises(OpenError):
        KEYS.open(area, b"m" * NAME_SIZE, sealed)
    with pytest.raises(OpenError):
        KEYS.open(area, NAME, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    other_area = Area.CHANGESETS if area is Area.CONTROL else Area.CONTROL
    with pytest.raises(OpenError):
        KEYS.open(other_area, NAME, sealed)
    for other in (
        MailboxKeys.from_secrets(b"s" * 32, WRITE, RELAY),
        MailboxKeys.from_secrets(READ, WRITE, OTHER_RELAY),
    ):
        with pytest.raises(OpenError):
            other.open(area, NAME, sealed)


@pytest.mark.row("A16", "A17")
def test_sizes_are_those_of_the_ladder() -> None:
    for size in (0, 1, 500, 503, 504, 5000, PLAIN_SIZE_MAX):
        plain = bytes(range(256)) * 33
        sealed = KEYS.seal(Area.CHANGESETS, NAME, plain[:size], b"x" * 32)
        assert len(sealed) - SEAL_OVERHEAD in {512, 1024, 2048, 4096, 8192}
        assert len(sealed) <= padded_size(size + 9) + SEAL_OVERHEAD <= ITEM_SIZE_MAX


def test_what_is_too_long_is_not_even_opened() -> None:
    with pytest.raises(OpenError):
        KEYS.open(Area.CHANGESETS, NAME, bytes(ITEM_SIZE_MAX + 1))
    with pytest.raises(OpenError):
        KEYS.open(Area.CHANGESETS, NAME, b"")


def test_the_repr_shows_no_secret() -> None:
    assert "seed" not in repr(KEYS)
    assert "_key" not in repr(KEYS)
