"""Rows of links: what is written is read, and a link takes what belongs to it along."""

from __future__ import annotations

from pathlib import Path

from relay import link_rows as rows
from relay.link_rows import Ended, LinkRow, TicketRow
from relay.store import RelayStore

LINK = LinkRow(b"l" * 16, b"o" * 16, 1, 2, b"p" * 16, b"t" * 32, b"k" * 65, 10, 20, 3, 1, 500, 600)


async def test_rows_come_back_and_go_with_their_link(tmp_path: Path) -> None:
    store = await RelayStore.open(tmp_path)
    try:
        ticket = TicketRow(b"h" * 32, LINK.link_id, 11)
        async with store.transaction() as db:
            await rows.write_link(db, LINK)
            await rows.write_packs(db, LINK.link_id, (b"1" * 32, b"2" * 32), {b"2" * 32})
            await rows.write_tickets(db, [ticket])
        assert await rows.load(store) == ([LINK], [ticket])
        assert await rows.holds_pages(store, LINK.link_id, b"1" * 32) is False
        assert await rows.holds_pages(store, LINK.link_id, b"2" * 32) is True
        LINK.downloads, ticket.is_counted = 2, 1
        async with store.transaction() as db:
            await rows.write_link(db, LINK)
            await rows.write_tickets(db, [ticket])
            await rows.write_packs(db, LINK.link_id, (b"2" * 32,))
        assert await rows.load(store) == ([LINK], [ticket])
        assert await rows.holds_pages(store, LINK.link_id, b"1" * 32) is None
        assert await rows.holds_pages(store, LINK.link_id, b"2" * 32) is False
        async with store.transaction() as db:
            await rows.delete_tickets(db, [ticket.ticket_hash])
        assert (await rows.load(store))[1] == []
        async with store.transaction() as db:
            await rows.write_tickets(db, [ticket])
            await rows.delete_link(db, LINK.link_id)
        assert await rows.load(store) == ([], [])
        assert await store.rows("SELECT * FROM link_packs") == []
    finally:
        await store.close()


def test_the_ends_have_words_for_visitors() -> None:
    words = {ended.word for ended in Ended if ended is not Ended.LIVE}
    assert words == {"expired", "revoked", "used up"}
