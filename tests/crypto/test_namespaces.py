"""Namespaces at nodes: whose keys they are, who may replace them, and what a proof is good for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.epochs import Tier, TierSecrets
from crypto.errors import FormError, SignatureError
from crypto.ids import RelayId
from crypto.mailbox import MailboxKeys
from crypto.namespaces import (
    DELEGATION_SIZE,
    Delegation,
    Signer,
    capability_public,
    capability_seed,
    check_capability,
    check_delegation,
    check_node,
    check_pseudonym,
    check_receipt,
    decode_delegation,
    delegate,
    emergency_hash,
    namespace_id,
    node_tag,
    prove_capability,
    prove_node,
    prove_pseudonym,
    sign_delegation,
    sign_receipt,
)
from crypto.primitives import sign_public
from tests.crypto.seeded import Seeded

NODE, OTHER_NODE = RelayId(b"1" * 32), RelayId(b"2" * 32)
LINK = b"l" * 32
SECRETS = TierSecrets.generate(Seeded("namespaces"))
OWNER_SEED = capability_seed(SECRETS.in_order[Tier.OWNER] or b"", NODE, Tier.OWNER)
EMERGENCY = emergency_hash(sign_public(b"e" * 32), b"s" * 16)
NAMESPACE = namespace_id(NODE, sign_public(OWNER_SEED), EMERGENCY)
DELEGATION = delegate(SECRETS, NODE, NAMESPACE, 0)


@pytest.mark.row("A17")
def test_two_nodes_and_two_tiers_have_nothing_in_common() -> None:
    publics = {
        capability_public(secret, node, tier)
        for node in (NODE, OTHER_NODE)
        for tier in Tier
        for secret in SECRETS.in_order
        if secret is not None
    }
    assert len(publics) == 2 * 4 * 4
    assert node_tag(SECRETS.read, NODE) != node_tag(SECRETS.read, OTHER_NODE)
    assert namespace_id(OTHER_NODE, sign_public(OWNER_SEED), EMERGENCY) != NAMESPACE


@pytest.mark.row("A17")
def test_a_mailbox_at_the_same_relay_shows_no_key_of_the_namespace() -> None:
    assert SECRETS.write is not None
    mailbox = MailboxKeys.from_secrets(SECRETS.read, SECRETS.write, NODE)
    shown = {mailbox.read_public, mailbox.write_public}
    assert not shown & {DELEGATION.public(tier) for tier in Tier}


def test_a_namespace_is_its_first_owner_s_and_the_kit_s() -> None:
    others = [
        namespace_id(NODE, sign_public(b"o" * 32), EMERGENCY),
        namespace_id(NODE, sign_public(OWNER_SEED), emergency_hash(b"f" * 32, b"s" * 16)),
        namespace_id(NODE, sign_public(OWNER_SEED), emergency_hash(b"e" * 32, b"t" * 16)),
    ]
    assert len({NAMESPACE, *others}) == 4


@given(st.binary(min_size=DELEGATION_SIZE, max_size=DELEGATION_SIZE) | st.binary(max_size=200))
def test_any_bytes_are_a_delegation_or_an_error(data: bytes) -> None:
    try:
        delegation = decode_delegation(data)
    except FormError:
        return
    assert delegation.encode() == data


def test_a_delegation_is_read_as_it_was_written() -> None:
    assert decode_delegation(DELEGATION.encode()) == DELEGATION
    publics = [
        capability_public(secret, NODE, tier)
        for tier, secret in zip(Tier, SECRETS.in_order, strict=True)
        if secret is not None
    ]
    assert [DELEGATION.public(tier) for tier in Tier] == publics


@pytest.mark.row("A20")
def test_an_admin_replaces_the_lower_keys_and_no_others() -> None:
    newer = replace(DELEGATION, generation=1, write_pk=b"w" * 32, read_pk=b"r" * 32, tag=b"t" * 16)
    for signer in Signer:
        assert newer.may_follow(DELEGATION, signer)
        assert not DELEGATION.may_follow(newer, signer), "an older generation"
        assert not newer.may_follow(newer, signer), "the same generation"
        assert not replace(newer, namespace=b"n" * 16).may_follow(DELEGATION, signer)
    for upper in (replace(newer, owner_pk=b"o" * 32), replace(newer, admin_pk=b"a" * 32)):
        assert upper.may_follow(DELEGATION, Signer.OWNER)
        assert upper.may_follow(DELEGATION, Signer.EMERGENCY)
        assert not upper.may_follow(DELEGATION, Signer.ADMIN)


def test_a_delegation_is_signed_for_one_node() -> None:
    signature = sign_delegation(OWNER_SEED, NODE, DELEGATION)
    public = sign_public(OWNER_SEED)
    check_delegation(public, signature, NODE, DELEGATION)
    for key, node, delegation in [
        (b"k" * 32, NODE, DELEGATION),
        (public, OTHER_NODE, DELEGATION),
        (public, NODE, replace(DELEGATION, generation=1)),
    ]:
        with pytest.raises(SignatureError):
            check_delegation(key, signature, node, delegation)


@pytest.mark.row("A18")
def test_a_proof_is_good_for_one_tier_of_one_generation_on_one_link() -> None:
    public = DELEGATION.public(Tier.OWNER)
    proof = prove_capability(OWNER_SEED, NODE, NAMESPACE, 3, Tier.OWNER, LINK)
    check_capability(public, proof, NODE, NAMESPACE, 3, Tier.OWNER, LINK)
    for key, node, namespace, generation, tier, link in [
        (DELEGATION.public(Tier.READ), NODE, NAMESPACE, 3, Tier.OWNER, LINK),
        (public, OTHER_NODE, NAMESPACE, 3, Tier.OWNER, LINK),
        (public, NODE, b"n" * 16, 3, Tier.OWNER, LINK),
        (public, NODE, NAMESPACE, 4, Tier.OWNER, LINK),
        (public, NODE, NAMESPACE, 3, Tier.ADMIN, LINK),
        (public, NODE, NAMESPACE, 3, Tier.OWNER, b"m" * 32),
    ]:
        with pytest.raises(SignatureError):
            check_capability(key, proof, node, namespace, generation, tier, link)


@pytest.mark.row("A11")
def test_a_node_s_proof_and_a_voucher_are_not_each_other() -> None:
    public = sign_public(b"k" * 32)
    node, voucher = prove_node(b"k" * 32, NODE, LINK), prove_pseudonym(b"k" * 32, NODE, LINK)
    check_node(public, node, NODE, LINK)
    check_pseudonym(public, voucher, NODE, LINK)
    with pytest.raises(SignatureError):
        check_node(public, voucher, NODE, LINK)
    with pytest.raises(SignatureError):
        check_pseudonym(public, node, NODE, LINK)
    with pytest.raises(SignatureError):
        check_node(public, node, OTHER_NODE, LINK)
    with pytest.raises(SignatureError):
        check_pseudonym(public, voucher, NODE, b"m" * 32)


@pytest.mark.row("A41")
def test_a_receipt_says_what_until_when_and_when() -> None:
    public, share = sign_public(b"k" * 32), b"d" * 32
    receipt = sign_receipt(b"k" * 32, share, 2, 2000, 1000)
    check_receipt(public, receipt, share, 2, 2000, 1000)
    for other in [(b"e" * 32, 2, 2000, 1000), (share, 1, 2000, 1000), (share, 2, 2001, 1000)]:
        with pytest.raises(SignatureError):
            check_receipt(public, receipt, *other)


def test_the_generation_is_four_bytes() -> None:
    last = replace(DELEGATION, generation=(1 << 32) - 1)
    assert isinstance(decode_delegation(last.encode()), Delegation)
    assert decode_delegation(last.encode()).generation == (1 << 32) - 1
