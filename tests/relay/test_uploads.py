"""What may be put in by upload links, how much, and until when: the rules without a network."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from relay import uploads as module
from relay.share_links import Later
from relay.upload_rows import UploadState
from relay.uploads import GIVES_WAY_S, IDLE_S, Refused, Upload, UploadLimits, Uploads
from tests.relay.upload_stage import (
    Sealed,
    UploadLinkMade,
    make_upload_link,
    put_upload_link,
    sealed_file,
)
from tests.relay.web_stage import LinkStage, link_stage


async def begin(stage: LinkStage, link: UploadLinkMade, sealed: Sealed) -> Upload | Refused:
    begun = await stage.uploads.begin(
        link.made.link_id, sealed.upload_id, sealed.size, sealed.head, "198.51.100.7"
    )
    assert not isinstance(begun, Later)
    return begun


async def whole(stage: LinkStage, link: UploadLinkMade, sealed: Sealed) -> Upload:
    upload = await begin(stage, link, sealed)
    assert isinstance(upload, Upload)
    stage.uploads.path(upload.row).write_bytes(b"".join(sealed.segments))
    upload.turn += 1
    await stage.uploads.keep(upload, upload.turn, len(sealed.segments))
    assert upload.row.state == UploadState.WHOLE
    return upload


async def restarted(stage: LinkStage) -> Uploads:
    again = Uploads(
        stage.store, stage.home / "uploads", stage.links, UploadLimits(), stage.clock,
        stage.wall_clock,
    )  # fmt: skip
    await again.start()
    return again


@pytest.mark.row("A39")
async def test_limits_of_a_link_hold_in_a_race(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link(files_max=3, file_bytes_max=100, bytes_max=250)
        await put_upload_link(stage, link)
        small = [sealed_file(link, b"x" * 40) for _ in range(5)]
        answers = await asyncio.gather(*(begin(stage, link, each) for each in small))
        assert sum(isinstance(each, Upload) for each in answers) == 3
        assert answers.count(Refused.TOO_MANY) == 2


async def test_each_limit_has_its_word(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link(files_max=9, file_bytes_max=100, bytes_max=150)
        await put_upload_link(stage, link)
        assert await begin(stage, link, sealed_file(link, b"x" * 101)) is Refused.TOO_LARGE
        first = sealed_file(link, b"x" * 100)
        assert isinstance(await begin(stage, link, first), Upload)
        assert await begin(stage, link, sealed_file(link, b"x" * 60)) is Refused.NO_ROOM
        assert isinstance(await begin(stage, link, first), Upload), "the sender's own, again"
        other = sealed_file(link, b"x" * 100, upload_id=first.upload_id)
        assert await begin(stage, link, other) is Refused.OTHER
        first.head = b"short"
        assert await begin(stage, link, sealed_file(link, b"")) != Refused.OTHER
        closed = make_upload_link()
        assert await stage.put(closed.made) == 0
        assert await begin(stage, closed, sealed_file(closed, b"")) is Refused.TOO_MANY


async def test_only_a_live_upload_link_takes_files(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link()
        assert not await stage.uploads.allow(link.rules)
        gives = await stage.made()
        link.rules.link_id = gives.link_id
        assert not await stage.uploads.allow(link.rules)
        assert stage.uploads.room(gives.link_id) is None


async def test_the_relay_s_own_limits_hold(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link()
        await put_upload_link(stage, link)
        for limits in (UploadLimits(total_bytes=50), UploadLimits(owner_bytes=50)):
            stage.uploads._limits = limits
            assert await begin(stage, link, sealed_file(link, b"x" * 60)) is Refused.NO_ROOM


async def test_an_address_begins_so_many_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGUN_PER_MINUTE", 2)
    async with link_stage(tmp_path) as stage:
        link = make_upload_link()
        await put_upload_link(stage, link)
        uploads = await restarted(stage)
        for number in range(3):
            sealed = sealed_file(link, b"")
            begun = await uploads.begin(
                link.made.link_id, sealed.upload_id, 0, sealed.head, "198.51.100.7"
            )
            assert isinstance(begun, Later) == (number == 2)


async def test_what_is_whole_stays_until_its_maker_has_it(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link(lifetime_s=60)
        await put_upload_link(stage, link)
        sealed = sealed_file(link, os.urandom(1_500_000))
        upload = await whole(stage, link, sealed)
        left = await begin(stage, link, sealed_file(link, b"half"))
        assert isinstance(left, Upload)
        stage.wall_clock.now += 3600
        await stage.links.sweep()
        await stage.uploads.sweep()
        assert not stage.uploads.is_live(left)
        uploads = await restarted(stage)
        (row,) = uploads.waiting(link.made.link_id)
        assert row.head == sealed.head
        assert uploads.read(row, 5, 10) == b"".join(sealed.segments)[5:15]
        await uploads.taken(link.made.link_id, sealed.upload_id)
        await uploads.taken(link.made.link_id, sealed.upload_id)
        assert uploads.waiting(link.made.link_id) == []
        assert list((stage.home / "uploads").iterdir()) == []
        again = await (await restarted(stage)).begin(
            link.made.link_id, sealed.upload_id, sealed.size, sealed.head, "h"
        )
        assert isinstance(again, Upload)
        assert again.row.state == UploadState.TAKEN, "a sender who did not hear of it sends no more"
        assert upload.row.segments == 2


async def test_a_place_that_nobody_uses_is_given_back(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link(files_max=1)
        await put_upload_link(stage, link)
        assert isinstance(await begin(stage, link, sealed_file(link, b"x")), Upload)
        assert await begin(stage, link, sealed_file(link, b"y")) is Refused.TOO_MANY
        stage.wall_clock.now += IDLE_S
        await stage.uploads.sweep()
        assert isinstance(await begin(stage, link, sealed_file(link, b"y")), Upload)


async def test_a_place_that_stands_still_gives_way_to_who_would_have_none(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link(files_max=2, bytes_max=1_000)
        await put_upload_link(stage, link)
        first, second, third = (sealed_file(link, b"x" * 400) for _ in range(3))
        left = await begin(stage, link, first)
        assert isinstance(left, Upload)
        stage.wall_clock.now += GIVES_WAY_S - 1
        coming = await begin(stage, link, second)
        assert isinstance(coming, Upload)
        assert await begin(stage, link, third) is Refused.TOO_MANY, "it may go on"
        stage.wall_clock.now += 1
        left.requests = 1
        assert await begin(stage, link, third) is Refused.TOO_MANY, "some of it comes just now"
        left.requests = 0
        too_much = sealed_file(link, b"x" * 900)
        assert await begin(stage, link, too_much) is Refused.NO_ROOM
        assert stage.uploads.find(link.made.link_id, first.upload_id) is left, "for nothing"
        assert isinstance(await begin(stage, link, third), Upload)
        assert not stage.uploads.is_live(left)
        assert not stage.uploads.path(left.row).exists()
        again = await restarted(stage)
        assert again.find(link.made.link_id, first.upload_id) is None
        assert again.find(link.made.link_id, second.upload_id) is not None
        assert await begin(stage, link, first) is Refused.TOO_MANY


async def test_an_older_request_and_an_ended_link_keep_nothing(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link()
        await put_upload_link(stage, link)
        sealed = sealed_file(link, b"x" * 100)
        upload = await begin(stage, link, sealed)
        assert isinstance(upload, Upload)
        stage.uploads.path(upload.row).write_bytes(sealed.segments[0])
        upload.turn = 2
        await stage.uploads.keep(upload, 1, 1)
        assert upload.row.segments == 0
        await stage.links.revoke(link.made.link_id, link.made.key.revocation(5), 5)
        await stage.uploads.keep(upload, 2, 1)
        assert upload.row.state == UploadState.UNDER_WAY


async def test_files_that_no_row_knows_are_removed_at_the_start(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        (stage.home / "uploads" / "left").write_bytes(b"x")
        await restarted(stage)
        assert list((stage.home / "uploads").iterdir()) == []


async def test_a_link_that_is_forgotten_takes_its_uploads_along(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        link = make_upload_link(lifetime_s=60)
        await put_upload_link(stage, link)
        await whole(stage, link, sealed_file(link, b"x"))
        stage.wall_clock.now += 60
        await stage.links.sweep()
        stage.wall_clock.now += 401 * 86_400
        await stage.links.sweep()
        await stage.uploads.sweep()
        assert stage.uploads.room(link.made.link_id) is None
        assert list((stage.home / "uploads").iterdir()) == []
