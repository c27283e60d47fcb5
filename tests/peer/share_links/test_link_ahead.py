"""When share links are prepared: once all is stored and quiet, and not too often."""

from __future__ import annotations

from crypto.ids import FolderId
from peer.errors import NoLinkRelay
from peer.share_links.link_ahead import QUIET_S, RENEW_AFTER_S, REST_S, LinksAhead

FOLDER = FolderId(b"f" * 32)


class Copies:
    """What is stored, and which folders were prepared."""

    def __init__(self) -> None:
        self.stored: dict[FolderId, int] = {}
        self.prepared: list[FolderId] = []
        self.error: Exception | None = None
        self.ahead = LinksAhead(self.get, self.prepare)

    async def get(self) -> dict[FolderId, int]:
        return self.stored

    async def prepare(self, folder_id: FolderId) -> int:
        self.prepared.append(folder_id)
        if self.error is not None:
            raise self.error
        return 1

    async def count(self, now: float) -> int:
        await self.ahead.step(now)
        return len(self.prepared)


async def test_a_folder_is_prepared_when_it_is_quiet_and_again_after_a_rest() -> None:
    copies = Copies()
    assert await copies.count(0.0) == 0
    copies.stored = {FOLDER: 1}
    assert await copies.count(1.0) == 0
    copies.stored = {FOLDER: 2}
    assert await copies.count(QUIET_S) == 0, "something was stored just now"
    assert await copies.count(2 * QUIET_S) == 1
    assert await copies.count(3 * QUIET_S) == 1
    copies.stored = {FOLDER: 3}
    assert await copies.count(4 * QUIET_S) == 1
    assert await copies.count(REST_S) == 1, "a folder in which much changes is let alone"
    assert await copies.count(REST_S + 2 * QUIET_S) == 2


async def test_what_does_not_change_is_renewed_before_its_lease_ends() -> None:
    copies = Copies()
    copies.stored = {FOLDER: 1}
    await copies.ahead.step(0.0)
    assert await copies.count(QUIET_S) == 1
    assert await copies.count(RENEW_AFTER_S) == 1
    assert await copies.count(RENEW_AFTER_S + QUIET_S) == 2


async def test_without_a_relay_or_a_folder_nothing_is_prepared_and_nothing_breaks() -> None:
    for error in (NoLinkRelay(), TimeoutError(), ValueError("Connection closed")):
        copies = Copies()
        copies.stored, copies.error = {FOLDER: 1}, error
        await copies.ahead.step(0.0)
        assert await copies.count(QUIET_S) == 1
        assert await copies.count(2 * QUIET_S) == 1
