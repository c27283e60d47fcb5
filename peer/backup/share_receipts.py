"""What nodes sign when they take a share: checked at once, and held against them later.

A receipt brings nothing back. It tells a node that has lost something apart from one that never had
it, and shows anybody whose word is worth little: it is of the node's own key, which its id names.
"""

from __future__ import annotations

import time

from crypto.errors import SignatureError
from crypto.ids import RelayId
from crypto.namespaces import check_receipt
from crypto.shares import Descriptor
from peer.backup.pack_notes import PackNotes, Receipt
from protocol.errors import LinkError
from protocol.storage_client import StorageClient
from protocol.storage_messages import StoreKept


def receipt_of(
    client: StorageClient, descriptor: Descriptor, share: int, kept: StoreKept
) -> Receipt:
    """A node's receipt for a share; raises LinkError if it signed something else, or nothing."""
    try:
        check_receipt(
            client.sign_pk, kept.receipt, descriptor.id(), share, kept.lease_until_s, kept.time_s
        )
    except SignatureError:
        raise LinkError(
            f"The node at {client.address.host} says that it holds a share, and does not sign it."
        ) from None
    return Receipt(
        descriptor.id(), share, client.address.relay_id, kept.lease_until_s, kept.time_s,
        kept.receipt,
    )  # fmt: skip


async def lost_words(
    notes: PackNotes, descriptor_id: bytes, share: int, node: RelayId, place: str
) -> str:
    """Writes down that a node does not hold a share, and says so, and what it had signed."""
    is_broken = await notes.broken(descriptor_id, share, node, int(time.time()))
    what = f"{place} does not show share {share} of pack {descriptor_id.hex()[:16]}"
    return f"{what}, though it signed that it holds it" if is_broken else what
