"""What failed once because of this disk is fetched when the disk has room: it is not given up."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from peer.folders.index_store import IndexStore
from tests.peer.folders.test_fetcher import F, Stage, content, need, received
from tests.peer.real_disk import open_disk

BYTES = b"bytes" * 100


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    store, disk = await IndexStore.open(tmp_path / "index.db"), open_disk(tmp_path / "root")
    stage = Stage(tmp_path / "root", store, disk)
    yield stage
    stage.executor.shutdown()
    disk.close()
    await store.close()


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
async def test_a_file_that_could_not_be_laid_down_is_asked_for_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    wanted = content(BYTES)
    await stage.fetcher.need([need(F, BYTES)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(code))
        await stage.fetcher.received([received(BYTES)])
    assert set(stage.fetcher.problems) == {(F, wanted.hash)}
    assert stage.fetcher.is_pending(F, wanted.hash)
    assert stage.disk.staged_names() == []
    stage.asked.wanted.clear()

    stage.fetcher.retry()
    assert not stage.fetcher.is_pending(F, wanted.hash)
    await stage.fetcher.need([need(F, BYTES)])
    assert set(stage.asked.wanted) == {(F, wanted.hash)}
    await stage.fetcher.received([received(BYTES)])
    assert stage.published(F, wanted) == BYTES
    assert stage.fetcher.problems == {}
