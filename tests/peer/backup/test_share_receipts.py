"""A node's word counts if it is signed, and is held against it when it breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from crypto.namespaces import sign_receipt
from crypto.primitives import sign_public
from peer.backup.pack_store import PackStore
from peer.backup.share_receipts import lost_words, receipt_of
from protocol.errors import LinkError
from protocol.relay_address import RelayAddress
from protocol.storage_messages import StoreKept, StoreOutcome
from tests.peer.fake_daemon import RELAY
from tests.peer.fake_nodes import spread

SEED = b"k" * 32


class Signer:
    sign_pk = sign_public(SEED)
    address: RelayAddress = RELAY


CLIENT = cast(Any, Signer())


@pytest.mark.row("A41")
async def test_what_is_signed_is_kept_and_what_is_not_is_refused(tmp_path: Path) -> None:
    _, descriptor, _ = spread(8, 2, 3)
    id_ = descriptor.id()
    far = 1 << 40
    signed = StoreKept(1, StoreOutcome.DONE, far, 5, sign_receipt(SEED, id_, 1, far, 5))
    receipt = receipt_of(CLIENT, descriptor, 1, signed)
    for share, lie in (
        (0, signed),
        (1, StoreKept(1, StoreOutcome.DONE, far + 1, 5, signed.receipt)),
        (1, StoreKept(1, StoreOutcome.DONE, far, 6, signed.receipt)),
        (1, StoreKept(1, StoreOutcome.DONE, far, 5, b"")),
    ):
        with pytest.raises(LinkError, match="does not sign it"):
            receipt_of(CLIENT, descriptor, share, lie)
    store = await PackStore.open(tmp_path / "packs")
    try:
        await store.notes.keep_receipt(receipt)
        node = RELAY.relay_id
        assert "signed" not in await lost_words(store.notes, id_, 0, node, "x")
        assert "though it signed" in await lost_words(store.notes, id_, 1, node, "x")
        assert await store.notes.broken_by_node() == {node: 1}
    finally:
        await store.close()
