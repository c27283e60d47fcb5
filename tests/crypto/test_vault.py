"""A kit's vault: the same for whoever has the kit, and nothing in common for whoever has not."""

from crypto.epochs import Tier
from crypto.ids import RelayId
from crypto.keys import KitKeys
from crypto.namespaces import (
    capability_public,
    capability_seed,
    check_delegation,
    namespace_id,
    sign_delegation,
)
from crypto.vault import Vault, vault_key

NODE, OTHER = RelayId(b"n" * 32), RelayId(b"o" * 32)
SECRET = KitKeys.from_secret(b"k" * 32).vault_secret


def test_the_kit_alone_gives_it() -> None:
    one, again = Vault(SECRET, NODE), Vault(KitKeys.from_secret(b"k" * 32).vault_secret, NODE)
    assert one.namespace == again.namespace
    assert one.delegation() == again.delegation()
    owner = one.secrets.owner
    assert owner is not None
    owner_pk = capability_public(owner, NODE, Tier.OWNER)
    assert one.namespace == namespace_id(NODE, owner_pk, one.emergency)
    delegation = one.delegation()
    signature = sign_delegation(capability_seed(owner, NODE, Tier.OWNER), NODE, delegation)
    check_delegation(delegation.owner_pk, signature, NODE, delegation)


def test_two_nodes_have_nothing_in_common() -> None:
    here, there = Vault(SECRET, NODE), Vault(SECRET, OTHER)
    assert here.namespace != there.namespace
    assert not set(here.secrets.in_order) & set(there.secrets.in_order)
    assert len(set(here.secrets.in_order)) == 4
    assert vault_key(SECRET) not in {SECRET, *here.secrets.in_order}
    assert vault_key(SECRET) != vault_key(b"x" * 32)
