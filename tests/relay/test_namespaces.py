"""Whose a namespace is: founded by its own key, handed on by those who may, closed to the older."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crypto.epochs import Tier, TierSecrets
from crypto.ids import RelayId
from crypto.namespaces import Delegation, Signer, prove_capability, sign_delegation
from crypto.primitives import sign_public
from protocol.storage_messages import ShareState, StoreDelegate, StoreOpen, StoreOutcome
from relay import namespaces as module
from relay import share_rows as rows
from relay.namespaces import Namespaces, Opened
from relay.share_rows import NamespaceRow
from relay.store import RelayStore
from tests.crypto.seeded import Seeded
from tests.relay.storage_stage import Owner

NODE = RelayId(b"1" * 32)
LINK, FOUNDER = b"l" * 32, b"f" * 32
DONE, REFUSED = StoreOutcome.DONE, StoreOutcome.REFUSED


def founding(owner: Owner, **changes: object) -> StoreDelegate:
    delegation = owner.delegation(NODE)
    signature = sign_delegation(owner.seed(NODE, Tier.OWNER), NODE, delegation)
    request = StoreDelegate(1, delegation.encode(), signature, Signer.OWNER, owner.emergency, b"")
    return replace(request, **changes)  # type: ignore[arg-type]


def founded(owner: Owner) -> Namespaces:
    spaces = Namespaces(NODE)
    row = spaces.judge(founding(owner), FOUNDER, 7, may_found=True)
    assert isinstance(row, NamespaceRow)
    spaces.take_up(row)
    return spaces


def opening(owner: Owner, tier: Tier, link: bytes = LINK, generation: int = 0) -> StoreOpen:
    namespace, seed = owner.namespace(NODE), owner.seed(NODE, tier)
    proof = prove_capability(seed, NODE, namespace, generation, tier, link)
    return StoreOpen(1, namespace, generation, tier, proof)


def handed_on(delegation: Delegation, seed: bytes, signer: Signer) -> StoreDelegate:
    signature = sign_delegation(seed, NODE, delegation)
    return StoreDelegate(2, delegation.encode(), signature, signer, b"", b"")


def test_only_its_own_key_founds_a_namespace() -> None:
    owner, other = Owner(), Owner("other")
    spaces = Namespaces(NODE)
    for request in [
        founding(owner, emergency=other.emergency),
        founding(owner, emergency=b""),
        founding(owner, signature=founding(other).signature),
        founding(owner, delegation=founding(other).delegation),
        founding(owner, delegation=b"\2" + founding(owner).delegation[1:]),
        founding(owner, signer=Signer.ADMIN),
        founding(owner, salt=b"s" * 16),
    ]:
        assert spaces.judge(request, FOUNDER, 7, may_found=True) is REFUSED
    assert spaces.judge(founding(owner), FOUNDER, 7, may_found=False) is REFUSED
    assert len(founded(owner)) == 1


def test_a_founder_has_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMESPACES_PER_FOUNDER_MAX", 1)
    spaces = founded(Owner())
    full = spaces.judge(founding(Owner("b")), FOUNDER, 7, may_found=True)
    assert full is StoreOutcome.FULL
    assert isinstance(spaces.judge(founding(Owner("b")), b"g" * 32, 7, may_found=True), tuple)


def test_founding_twice_changes_nothing() -> None:
    owner = Owner()
    spaces = founded(owner)
    again = spaces.judge(founding(owner), b"g" * 32, 9, may_found=False)
    assert isinstance(again, NamespaceRow)
    assert again.founder == FOUNDER


@pytest.mark.row("A20")
@pytest.mark.parametrize("tier", Tier)
def test_a_tier_has_the_rights_of_those_below_and_no_more(tier: Tier) -> None:
    owner, opened = Owner(), Opened()
    spaces = founded(owner)
    namespace = owner.namespace(NODE)
    assert spaces.allows(opened, namespace, Tier.READ) is REFUSED
    assert spaces.open(opened, opening(owner, tier), LINK) is DONE
    for wanted in Tier:
        assert (spaces.allows(opened, namespace, wanted) is DONE) == (wanted <= tier)
    assert spaces.open(opened, opening(owner, Tier.READ), LINK) is DONE
    assert spaces.allows(opened, namespace, tier) is DONE, "opening for less takes nothing away"


@pytest.mark.row("A18", "A20")
def test_a_proof_opens_nothing_else_and_on_no_other_link() -> None:
    owner, other = Owner(), Owner("other")
    spaces, opened = founded(owner), Opened()
    for request in [
        replace(opening(owner, Tier.READ), tier=Tier.WRITE),
        opening(owner, Tier.READ, link=b"m" * 32),
        replace(opening(owner, Tier.READ), proof=opening(other, Tier.READ).proof),
        replace(opening(owner, Tier.READ), generation=1),
    ]:
        assert spaces.open(opened, request, LINK) is REFUSED
    assert spaces.open(opened, opening(other, Tier.READ), LINK) is StoreOutcome.UNKNOWN
    assert opened.tiers == {}


def test_a_link_opens_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_PER_LINK_MAX", 0)
    spaces = founded(Owner())
    assert spaces.open(Opened(), opening(Owner(), Tier.READ), LINK) is StoreOutcome.FULL


@pytest.mark.row("A18")
def test_a_newer_generation_closes_what_was_open_at_once() -> None:
    owner, opened = Owner(), Opened()
    spaces = founded(owner)
    spaces.open(opened, opening(owner, Tier.OWNER), LINK)
    old_seed = owner.seed(NODE, Tier.OWNER)
    owner.secrets, owner.generation = TierSecrets.generate(Seeded("next")), 4
    row = spaces.judge(
        handed_on(owner.delegation(NODE), old_seed, Signer.OWNER), FOUNDER, 8, may_found=False
    )
    assert isinstance(row, NamespaceRow)
    namespace = owner.namespace(NODE)
    assert spaces.allows(opened, namespace, Tier.OWNER) is DONE, "not before it is durable"
    spaces.take_up(row)
    assert spaces.allows(opened, namespace, Tier.READ) is StoreOutcome.OLDER
    assert spaces.open(opened, opening(Owner(), Tier.OWNER), LINK) is StoreOutcome.OLDER
    assert spaces.open(opened, opening(owner, Tier.OWNER, generation=4), LINK) is DONE
    assert spaces.judge(founding(Owner()), FOUNDER, 9, may_found=True) is StoreOutcome.OLDER


@pytest.mark.row("A20")
def test_an_admin_hands_on_reading_and_writing_alone() -> None:
    owner = Owner()
    spaces = founded(owner)
    new = TierSecrets.generate(Seeded("next"))
    lower = replace(owner.secrets, read=new.read, write=new.write)
    admin_seed = owner.seed(NODE, Tier.ADMIN)
    write_seed = owner.seed(NODE, Tier.WRITE)
    owner.secrets, owner.generation = lower, 1
    good = handed_on(owner.delegation(NODE), admin_seed, Signer.ADMIN)
    owner.secrets = new
    too_much = handed_on(owner.delegation(NODE), admin_seed, Signer.ADMIN)
    assert spaces.judge(too_much, FOUNDER, 8, may_found=True) is REFUSED
    for signer in Signer:
        by_writer = replace(good, signature=handed_on(
            owner.delegation(NODE), write_seed, signer).signature, signer=signer)  # fmt: skip
        assert spaces.judge(by_writer, FOUNDER, 8, may_found=True) is REFUSED
    assert isinstance(spaces.judge(good, FOUNDER, 8, may_found=False), NamespaceRow)


def test_the_kit_stands_above_a_stolen_owner_key() -> None:
    owner = Owner()
    spaces = founded(owner)
    owner.secrets, owner.generation = TierSecrets.generate(Seeded("next")), 1
    request = handed_on(owner.delegation(NODE), owner.emergency_seed, Signer.EMERGENCY)
    shown = replace(request, emergency=sign_public(owner.emergency_seed), salt=owner.salt)
    for wrong in [request, replace(shown, salt=b"t" * 16), replace(shown, emergency=b"e" * 32)]:
        assert spaces.judge(wrong, FOUNDER, 8, may_found=True) is REFUSED
    assert isinstance(spaces.judge(shown, FOUNDER, 8, may_found=False), NamespaceRow)


async def test_what_was_founded_is_there_after_a_restart(tmp_path: Path) -> None:
    owner = Owner()
    row = Namespaces(NODE).judge(founding(owner), FOUNDER, 7, may_found=True)
    assert isinstance(row, NamespaceRow)
    store = await RelayStore.open(tmp_path)
    async with store.transaction() as db:
        await rows.put_namespace(db, row)
    spaces = Namespaces(NODE)
    await spaces.load(store)
    assert spaces.open(Opened(), opening(owner, Tier.OWNER), LINK) is DONE
    assert spaces.totals()[0][ShareState.WHOLE] == spaces.used_bytes() == 0
    await store.close()
