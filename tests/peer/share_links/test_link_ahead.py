"""When share links are prepared: as soon as all is stored, and not too often."""

from __future__ import annotations

from crypto.ids import FolderId
from peer.errors import NoLinkRelay
from peer.share_links.link_ahead import (
    RENEW_AFTER_S,
    REST_SHARE,
    ROOM_S,
    TROUBLE_REST_S,
    LinksAhead,
    Prepared,
)
from peer.share_links.link_listing import PREPARED_SHARE

FOLDER = FolderId(b"f" * 32)
MOST = PREPARED_SHARE * 1000
"""Of files whose pages are 1,000 bytes at most."""


class Folder:
    """Something to prepare links to, which takes its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes_s = 0.0
        self.prepared = Prepared()
        self.error: Exception | None = None
        self.count = 0
        self.ahead = LinksAhead(self.prepare, lambda: self.now)

    async def prepare(self, _folder_id: FolderId) -> Prepared:
        self.count += 1
        self.now += self.takes_s
        if self.error is not None:
            raise self.error
        return self.prepared

    async def stored(self, mark: int, now: float) -> int:
        """How often it was prepared when this is stored."""
        self.now = now
        await self.ahead.stored(FOLDER, mark)
        return self.count


async def test_a_folder_is_prepared_as_soon_as_it_is_stored_and_not_again_for_the_same() -> None:
    folder = Folder()
    assert await folder.stored(1, 0.0) == 1
    assert await folder.stored(1, 60.0) == 1
    assert await folder.stored(2, 61.0) == 2


async def test_a_folder_that_is_being_filled_is_not_gone_through_again_and_again() -> None:
    folder = Folder()
    folder.takes_s = 2.0
    assert await folder.stored(1, 0.0) == 1
    assert await folder.stored(2, 2.0 * REST_SHARE) == 1
    assert await folder.stored(3, 2.0 * REST_SHARE + 2.0) == 2


async def test_pages_that_go_out_of_use_take_no_more_room_than_once_an_hour_all_of_them() -> None:
    folder = Folder()
    folder.prepared = Prepared(600, MOST)
    assert await folder.stored(1, 0.0) == 1
    assert await folder.stored(2, 1.0) == 2, "it is much, and less than all"
    assert await folder.stored(3, 2.0) == 2, "it was more than all"
    assert await folder.stored(3, ROOM_S * 0.2 + 2.0) == 3
    assert await folder.stored(4, ROOM_S * 0.2 + 3.0) == 3
    assert await folder.stored(5, ROOM_S * 3.0) == 4
    assert await folder.stored(6, ROOM_S * 3.0 + 1.0) == 5, "it has come back"


async def test_what_does_not_change_is_renewed_before_its_lease_ends() -> None:
    folder = Folder()
    assert await folder.stored(1, 0.0) == 1
    assert await folder.stored(1, RENEW_AFTER_S - 1.0) == 1
    assert await folder.stored(1, RENEW_AFTER_S) == 2


async def test_without_a_relay_or_a_folder_nothing_breaks_and_it_is_tried_again_later() -> None:
    for error in (NoLinkRelay(), TimeoutError(), ValueError("Connection closed")):
        folder = Folder()
        folder.error = error
        assert await folder.stored(1, 0.0) == 1
        assert await folder.stored(2, TROUBLE_REST_S - 1.0) == 1
        folder.error = None
        assert await folder.stored(2, TROUBLE_REST_S) == 2
        assert await folder.stored(2, TROUBLE_REST_S + 60.0) == 2
