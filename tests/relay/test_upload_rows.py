"""Rows of uploads: what is written is read, and goes with its link."""

from __future__ import annotations

from pathlib import Path

from relay import link_rows
from relay import upload_rows as rows
from relay.store import RelayStore
from relay.upload_rows import UploadRow, UploadRules, UploadState
from tests.relay.test_link_rows import LINK


async def test_rows_come_back_and_go_with_their_link(tmp_path: Path) -> None:
    store = await RelayStore.open(tmp_path)
    rules = UploadRules(LINK.link_id, 3, 100, 200)
    upload = UploadRow(LINK.link_id, b"u" * 16, UploadState.UNDER_WAY, 5 << 20, b"head", 0, 7)
    try:
        async with store.transaction() as db:
            await link_rows.write_link(db, LINK)
            await rows.write_rules(db, rules)
            await rows.write_upload(db, upload)
        rules.files_max, upload.segments, upload.state = 4, 5, UploadState.WHOLE
        assert upload.segments_max == 5
        async with store.transaction() as db:
            await rows.write_rules(db, rules)
            await rows.write_upload(db, upload)
            await link_rows.write_link(db, LINK)  # its row is changed, and not another one
        assert await rows.load(store) == ([rules], [upload])
        async with store.transaction() as db:
            await rows.delete_uploads(db, [upload])
        assert await rows.load(store) == ([rules], [])
        async with store.transaction() as db:
            await rows.write_upload(db, upload)
            await link_rows.delete_link(db, LINK.link_id)
        assert await rows.load(store) == ([], [])
    finally:
        await store.close()
