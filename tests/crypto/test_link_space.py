"""A device's namespace for links: the same each time, and nothing in common between two."""

from __future__ import annotations

from crypto.epochs import Tier
from crypto.ids import RelayId
from crypto.link_space import GENERATION, LinkSpace
from crypto.namespaces import capability_public, check_delegation, decode_delegation
from crypto.primitives import sign_public

DEVICE, RELAY, OTHER = b"d" * 32, RelayId(b"r" * 32), RelayId(b"o" * 32)


def test_it_is_the_same_each_time_and_another_at_each_relay() -> None:
    one, again = LinkSpace(DEVICE, RELAY), LinkSpace(DEVICE, RELAY)
    assert (one.namespace, one.seed(), one.emergency) == (
        again.namespace, again.seed(), again.emergency,
    )  # fmt: skip
    for other in (LinkSpace(DEVICE, OTHER), LinkSpace(b"e" * 32, RELAY)):
        assert not {one.namespace, one.seed(), one.emergency} & {
            other.namespace, other.seed(), other.emergency,
        }  # fmt: skip


def test_it_founds_itself() -> None:
    space = LinkSpace(DEVICE, RELAY)
    delegation, signature = space.founding()
    check_delegation(sign_public(space.seed()), signature, RELAY, delegation)
    assert delegation.public(Tier.OWNER) == sign_public(space.seed())
    assert (delegation.namespace, delegation.generation) == (space.namespace, GENERATION)
    assert decode_delegation(delegation.encode()) == delegation
    assert capability_public(DEVICE, RELAY, Tier.OWNER) != delegation.public(Tier.OWNER)
    publics = {delegation.public(tier) for tier in Tier}
    assert len(publics) == 4


def test_the_repr_shows_nothing() -> None:
    assert repr(LinkSpace(DEVICE, RELAY)) == "LinkSpace()"
