"""A node that lost or damaged what it holds is found out, and not counted on any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.pack_store import PackStore
from tests.peer.backup_stage import keep, nodes
from tests.peer.device_stage import devices, folder_of


@pytest.mark.row("A41", "F25")
async def test_shares_that_are_gone_or_changed_are_found_and_stored_anew(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(b"hello" * 100_000)
        await one.add_folder(stage.root("one"), "f")
        await keep(stage, one, some, 2)
        folder_id = folder_of(one).folder_id
        backup = one.backups._backups[folder_id]
        one.backups._work[folder_id].cancel()  # or it would store anew what is found to be lost
        store = await PackStore.open(one.home.folders_path / f"{folder_id.hex()}.packs")
        backup.store = backup.audit._store = store
        whole = sorted(h[:3] for h in await backup.store.holdings())
        # A node changes what it holds, and another one has nothing any more.
        for path in some.files(0):
            path.write_bytes(b"\1" * path.stat().st_size)
        for path in some.files(1):
            path.unlink()
        for _ in range(2):  # the first time it may only be said that the disk fails
            backup.audit._verified_at = float("-inf")
            await backup.audit.verify(backup.present())
        held = {h.node for h in await backup.store.holdings()}
        assert held == {some.addresses[2].relay_id}
        assert len(await backup.store.holdings()) < len(whole)
        await store.close()
