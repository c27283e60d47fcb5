"""What a device may ask of a relay's links, and what a hostile one may try."""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

import pytest

from crypto.epochs import Tier
from crypto.packs import LEAF_SIZE
from crypto.share_links import end_key_hash
from crypto.shares import Descriptor
from protocol.link_messages import (
    LinkAsk,
    LinkDone,
    LinkEnd,
    LinkEndKey,
    LinkKeep,
    LinkList,
    LinkListed,
    LinkPack,
    LinkPages,
    LinkPiece,
    LinkPlace,
    LinkPut,
    LinkRevoke,
)
from protocol.storage_messages import StoreOutcome
from relay import share_rows
from relay.link_desk import PUTS_PER_LINK_MAX, LinkDesk, LinkTalk
from relay.link_rows import Ended, holds_pages
from relay.share_rows import NamespaceRow
from tests.relay.web_stage import OWNER, LinkStage, Made, link_stage

OTHER = b"p" * 16


def talk(
    stage: LinkStage, tier: Tier | None = Tier.OWNER, namespaces: Set[bytes] = frozenset({OWNER})
) -> LinkTalk:
    def may(namespace: bytes, asked: Tier) -> StoreOutcome:
        is_open = namespace in namespaces and tier is not None and tier >= asked
        return StoreOutcome.DONE if is_open else StoreOutcome.REFUSED

    return LinkTalk(LinkDesk(stage.links, stage.store, "https://a", stage.uploads), may)


def put_of(made: Made, *packs: LinkPack, namespace: bytes = OWNER) -> LinkPut:
    return LinkPut(
        1, namespace, made.link_id, made.new.password_salt, made.new.token_hash, 60, 5,
        len(made.blob), packs,
    )  # fmt: skip


async def outcome(
    desk: LinkTalk,
    request: LinkPut | LinkPiece | LinkPages | LinkKeep | LinkRevoke | LinkEndKey | LinkEnd,
) -> int:
    answer = await desk.answer(request)
    assert isinstance(answer, LinkDone)
    return answer.outcome


async def test_a_blob_comes_in_pieces_and_is_there_when_it_is_whole(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        desk, made = talk(stage), stage.make(b"x" * 5000)
        assert await outcome(desk, put_of(made)) == StoreOutcome.DONE
        for at in range(0, len(made.blob), 2000):
            piece = LinkPiece(2, made.link_id, at, made.blob[at : at + 2000])
            if at == 0:
                assert await outcome(desk, put_of(made)) == StoreOutcome.DONE  # begun anew
            assert await outcome(desk, piece) == StoreOutcome.DONE
        kept = await desk.answer(LinkKeep(3, made.link_id))
        assert kept == LinkDone(3, StoreOutcome.DONE, int(stage.wall_clock.now) + 60)
        listed = await desk.answer(LinkList(4, OWNER))
        assert isinstance(listed, LinkListed)
        assert [(use.link_id, use.downloads_max) for use in listed.links] == [(made.link_id, 5)]


@pytest.mark.row("A39")
@pytest.mark.parametrize("tier", [None, Tier.READ, Tier.WRITE])
async def test_who_may_not_make_links_makes_none(tmp_path: Path, tier: Tier | None) -> None:
    async with link_stage(tmp_path) as stage:
        desk, made = talk(stage, tier), stage.make()
        assert await outcome(desk, put_of(made)) == StoreOutcome.REFUSED
        assert await outcome(talk(stage), put_of(made, namespace=b"x" * 16)) == StoreOutcome.REFUSED
        pack = LinkPack(b"x" * 16, os.urandom(32))
        assert await outcome(talk(stage), put_of(made, pack)) == StoreOutcome.REFUSED
        pack = LinkPack(OWNER, os.urandom(32))
        assert await outcome(talk(stage), put_of(made, pack)) == StoreOutcome.UNKNOWN
        assert stage.blobs() == []


async def test_what_is_not_the_blob_is_not_kept(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        desk, made, other = talk(stage), stage.make(b"y" * 500), stage.make(b"z" * 500)
        assert await outcome(desk, LinkPiece(1, made.link_id, 0, b"x")) == StoreOutcome.UNKNOWN
        assert await outcome(desk, LinkKeep(1, made.link_id)) == StoreOutcome.UNKNOWN
        for at, data in ((1, b"x"), (0, made.blob + b"x")):
            await outcome(desk, put_of(made))
            assert await outcome(desk, LinkPiece(1, made.link_id, at, data)) == StoreOutcome.DAMAGED
        await outcome(desk, put_of(made))
        await outcome(desk, LinkPiece(1, made.link_id, 0, made.blob[:-1]))
        assert await outcome(desk, LinkKeep(1, made.link_id)) == StoreOutcome.REFUSED
        await outcome(desk, put_of(made))
        await outcome(desk, LinkPiece(1, made.link_id, 0, other.blob))
        assert await outcome(desk, LinkKeep(1, made.link_id)) == StoreOutcome.DAMAGED
        assert stage.blobs() == []


async def stored(stage: LinkStage, *packs: tuple[bytes, bytes, int]) -> list[LinkPack]:
    """Packs by namespace, bytes' hash and leaves, as the desk finds them."""
    found = []
    async with stage.store.transaction() as db:
        for namespace in {namespace for namespace, _, _ in packs}:
            row = NamespaceRow(namespace, b"e" * 32, b"d", b"f" * 32, 1, 0, 0)
            await share_rows.put_namespace(db, row)
        for namespace, pack_id, leaves in packs:
            descriptor = Descriptor(pack_id, leaves * LEAF_SIZE, 1, (namespace + namespace,))
            values = (namespace, descriptor.id(), pack_id, descriptor.encode(), 1 << 40)
            await share_rows.put_pack(db, *values, stands_by=False)
            found.append(LinkPack(namespace, descriptor.id()))
    return found


@pytest.mark.row("A39")
async def test_packs_of_pages_are_those_of_a_link_and_not_what_it_gives(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        desk, made = talk(stage, namespaces={OWNER, OTHER}), stage.make()
        lists, files, same = await stored(
            stage, (OWNER, b"l" * 32, 3), (OWNER, b"f" * 32, 7), (OTHER, b"f" * 32, 7)
        )
        unknown = LinkPages(2, made.link_id, (lists.descriptor_id,))
        assert await outcome(desk, unknown) == StoreOutcome.UNKNOWN, "it was not begun"
        for told in ((b"x" * 32,), (lists.descriptor_id, b"x" * 32), (files.descriptor_id,)):
            # The last: to a visitor a pack is its bytes, and these are given, too.
            assert await outcome(desk, put_of(made, lists, files, same)) == StoreOutcome.DONE
            pages = LinkPages(2, made.link_id, told)
            assert await outcome(desk, pages) == StoreOutcome.REFUSED
            assert await outcome(desk, LinkKeep(3, made.link_id)) == StoreOutcome.UNKNOWN
        assert await outcome(desk, put_of(made, lists, files)) == StoreOutcome.DONE
        pages = LinkPages(2, made.link_id, (lists.descriptor_id,))
        assert await outcome(desk, pages) == StoreOutcome.DONE
        assert await outcome(desk, LinkPiece(3, made.link_id, 0, made.blob)) == StoreOutcome.DONE
        assert await outcome(desk, LinkKeep(4, made.link_id)) == StoreOutcome.DONE
        row = stage.links.row_of(made.link_id)
        assert row is not None
        assert (row.packs_size, row.pages_size) == (7 * LEAF_SIZE, 3 * LEAF_SIZE)
        found = await holds_pages(stage.store, made.link_id, b"l" * 32)
        assert (found, await holds_pages(stage.store, made.link_id, b"f" * 32)) == (True, False)


async def test_what_did_not_come_whole_goes_with_the_link(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        desk = talk(stage)
        for _ in range(PUTS_PER_LINK_MAX):
            assert await outcome(desk, put_of(stage.make())) == StoreOutcome.DONE
        assert await outcome(desk, put_of(stage.make())) == StoreOutcome.BUSY
        assert len(stage.blobs()) == PUTS_PER_LINK_MAX
        desk.leave()
        assert stage.blobs() == []


async def test_a_link_that_has_ended_does_not_come_back(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        desk, made = talk(stage), await stage.made()
        revoke = LinkRevoke(1, made.link_id, 5, made.key.revocation(5))
        assert await outcome(desk, LinkRevoke(1, made.link_id, 6, made.key.revocation(5))) == 3
        assert await outcome(desk, revoke) == StoreOutcome.DONE
        await outcome(desk, put_of(made))
        await outcome(desk, LinkPiece(1, made.link_id, 0, made.blob))
        assert await outcome(desk, LinkKeep(1, made.link_id)) == StoreOutcome.REFUSED


async def test_a_relay_that_serves_none_or_was_asked_too_much_says_so(tmp_path: Path) -> None:
    nothing = LinkTalk(None, lambda namespace, tier: StoreOutcome.DONE)
    assert await nothing.answer(LinkAsk(7)) == LinkPlace(7, StoreOutcome.NOT_STORING, "", 0)
    assert await nothing.answer(LinkList(7, OWNER)) == LinkListed(7, StoreOutcome.NOT_STORING, ())
    async with link_stage(tmp_path) as stage:
        desk = talk(stage)
        asked = await desk.answer(LinkAsk(8))
        assert asked == LinkPlace(8, 0, "https://a", int(stage.wall_clock.now))
        assert await desk.answer(LinkAsk(8), is_busy=True) == LinkPlace(8, 5, "", 0)


@pytest.mark.row("A39")
async def test_the_maker_alone_says_by_which_key_others_end_a_link(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made, key = await stage.made(), os.urandom(32)
        new = LinkEndKey(1, made.link_id, end_key_hash(made.link_id, key))
        for who in (talk(stage, Tier.WRITE), talk(stage, None), talk(stage, namespaces={OTHER})):
            assert await outcome(who, new) == StoreOutcome.UNKNOWN
        nothing = LinkEndKey(1, b"x" * 16, new.key_hash)
        assert await outcome(talk(stage), nothing) == StoreOutcome.UNKNOWN
        # Whoever has no namespace open shows a key: wrong ones, and where there is none, are alike.
        stranger = talk(stage, None)
        assert await outcome(stranger, LinkEnd(2, made.link_id, key)) == StoreOutcome.UNKNOWN
        assert await outcome(talk(stage), new) == StoreOutcome.DONE
        for link_id, shown in ((made.link_id, os.urandom(32)), (b"x" * 16, key)):
            assert await outcome(stranger, LinkEnd(2, link_id, shown)) == StoreOutcome.UNKNOWN
        assert stage.links.listed(OWNER)[0].ended == Ended.LIVE
        assert await outcome(stranger, LinkEnd(2, made.link_id, key)) == StoreOutcome.DONE
        assert stage.links.listed(OWNER)[0].ended == Ended.REVOKED
        assert await outcome(stranger, LinkEnd(3, made.link_id, key)) == StoreOutcome.DONE
        assert await outcome(talk(stage), new) == StoreOutcome.REFUSED, "it has ended"


async def test_where_no_links_are_served_none_is_ended(tmp_path: Path) -> None:
    nobody = LinkTalk(None, lambda namespace, tier: StoreOutcome.DONE)
    for request in (LinkEndKey(1, b"x" * 16, bytes(32)), LinkEnd(1, b"x" * 16, bytes(32))):
        assert await outcome(nobody, request) == StoreOutcome.NOT_STORING
