"""What a maker may ask of a relay's upload links, and that nobody else may."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.epochs import Tier
from protocol.storage_messages import StoreOutcome
from protocol.upload_messages import (
    UploadAllow,
    UploadBytes,
    UploadDone,
    UploadList,
    UploadListed,
    UploadRead,
    UploadRequest,
    UploadTaken,
)
from relay.link_desk import LinkDesk
from relay.upload_desk import UploadTalk, refusal
from tests.relay.test_uploads import whole
from tests.relay.upload_stage import make_upload_link, put_upload_link, sealed_file
from tests.relay.web_stage import OWNER, LinkStage, link_stage


def talk(stage: LinkStage, tier: Tier | None = Tier.OWNER) -> UploadTalk:
    def may(namespace: bytes, asked: Tier) -> StoreOutcome:
        is_open = namespace == OWNER and tier is not None and tier >= asked
        return StoreOutcome.DONE if is_open else StoreOutcome.REFUSED

    return UploadTalk(LinkDesk(stage.links, stage.store, "https://a", stage.uploads), may)


async def test_what_came_is_listed_read_and_taken(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        desk, link = talk(stage), make_upload_link()
        assert await stage.put(link.made) == 0
        link_id = link.made.link_id
        allow = UploadAllow(1, link_id, 10, 1000, 2000)
        assert await desk.answer(allow) == UploadDone(1, StoreOutcome.DONE)
        sealed = sealed_file(link, os.urandom(700))
        await whole(stage, link, sealed)
        listed = await desk.answer(UploadList(2, link_id))
        assert isinstance(listed, UploadListed)
        (waiting,) = listed.waiting
        assert (waiting.upload_id, waiting.size, waiting.head) == (
            sealed.upload_id, 700, sealed.head,
        )  # fmt: skip
        read = await desk.answer(UploadRead(3, link_id, sealed.upload_id, 0, 1 << 30))
        assert read == UploadBytes(3, StoreOutcome.DONE, sealed.segments[0])
        past = await desk.answer(UploadRead(3, link_id, sealed.upload_id, 5000, 10))
        assert past == UploadBytes(3, StoreOutcome.DONE, b"")
        taken = UploadTaken(4, link_id, sealed.upload_id)
        assert await desk.answer(taken) == UploadDone(4, StoreOutcome.DONE)
        gone = await desk.answer(UploadRead(5, link_id, sealed.upload_id, 0, 10))
        assert gone == UploadBytes(5, StoreOutcome.UNKNOWN, b"")


@pytest.mark.row("A39")
async def test_nobody_else_hears_of_a_link(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link()
        await put_upload_link(stage, link)
        sealed = sealed_file(link, b"x")
        await whole(stage, link, sealed)
        link_id, upload_id = link.made.link_id, sealed.upload_id
        asked: list[UploadRequest] = [
            UploadAllow(1, link_id, 9, 9, 9), UploadList(1, link_id),
            UploadRead(1, link_id, upload_id, 0, 9), UploadTaken(1, link_id, upload_id),
        ]  # fmt: skip
        for desk in (talk(stage, None), talk(stage, Tier.READ)):
            for request in asked:
                assert (await desk.answer(request)).outcome == StoreOutcome.UNKNOWN
        strange: list[UploadRequest] = [
            UploadList(1, bytes(16)), UploadTaken(1, bytes(16), upload_id),
        ]  # fmt: skip
        for unknown in strange:
            assert (await talk(stage).answer(unknown)).outcome == StoreOutcome.UNKNOWN
        assert len(stage.uploads.waiting(link_id)) == 1


async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        gives = await stage.made()
        desk, request = talk(stage), UploadAllow(1, gives.link_id, 1, 1, 1)
        assert (await desk.answer(request)).outcome == StoreOutcome.REFUSED
        assert (await desk.answer(request, is_busy=True)).outcome == StoreOutcome.BUSY
        nothing = UploadTalk(None, lambda namespace, tier: StoreOutcome.DONE)
        assert (await nothing.answer(request)).outcome == StoreOutcome.NOT_STORING
        link = make_upload_link()
        await put_upload_link(stage, link)
        upload = await whole(stage, link, sealed_file(link, b"x"))
        stage.uploads.path(upload.row).unlink()
        read = UploadRead(1, link.made.link_id, upload.row.upload_id, 0, 9)
        assert await desk.answer(read) == refusal(read, StoreOutcome.UNABLE)
