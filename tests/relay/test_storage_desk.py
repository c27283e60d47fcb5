"""Places for storage links: so many in all, and so many a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import LimitReached, LinkError, StorageRefused
from protocol.storage_client import StorageClient, storing
from relay import storage_desk as module
from tests.relay.relay_stage import new_keys, relaying, until
from tests.relay.storage_stage import ROOMY


@pytest.mark.row("A29")
async def test_a_device_that_comes_again_loses_its_oldest_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINKS_PER_PSEUDONYM_MAX", 1)
    keys = new_keys()
    async with relaying(home=tmp_path, storage=ROOMY) as relay:
        desk = relay.relay.desk.storage
        assert desk is not None
        async with storing(relay.address, keys) as first, storing(relay.address, new_keys()) as far:
            async with storing(relay.address, keys) as second:
                await until(lambda: first.is_closed)
                assert not second.is_closed
                assert not far.is_closed
                assert len(desk.links) == 2
        await until(lambda: not desk.links)


@pytest.mark.row("A29")
@pytest.mark.parametrize("limit", ["LINKS_MAX", "LINKS_PER_ADDRESS_MAX"])
async def test_a_full_node_takes_nobody_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(module, limit, 1)
    async with relaying(home=tmp_path, storage=ROOMY) as relay:
        async with storing(relay.address, new_keys()) as first:
            with pytest.raises((LinkError, StorageRefused)):
                await StorageClient.dial(relay.address, new_keys())
            assert not first.is_closed
        assert relay.relay.desk.counts[LimitReached.__name__] == 1
