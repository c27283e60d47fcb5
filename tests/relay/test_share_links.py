"""The rules of share links: counting, ends, and what is left of a link that has ended."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.errors import CryptoError
from crypto.packs import LEAF_SIZE
from crypto.share_links import LinkFlags, end_key_hash, seal_link
from relay import link_rows
from relay.link_rows import Ended
from relay.share_links import (
    GOES_ON_S,
    REMEMBERED_S,
    RESERVED_S,
    Claimed,
    Gone,
    Later,
    LinkLimits,
    Reading,
    ShareLinks,
    Unknown,
)
from tests.relay.web_stage import LinkStage, Made, link_stage

HOST = "192.0.2.1"


async def claim(stage: LinkStage, made: Made) -> Claimed | Unknown | Gone | Later:
    return await stage.links.claim(made.link_id, made.token, HOST)


async def claimed(stage: LinkStage, made: Made) -> bytes:
    answer = await claim(stage, made)
    assert isinstance(answer, Claimed)
    return answer.ticket


async def admit(
    stage: LinkStage, made: Made, ticket: bytes, pack: int = 0
) -> Reading | Unknown | Gone:
    return await stage.links.admit(made.link_id, made.packs[pack], ticket)


async def served(stage: LinkStage, made: Made, ticket: bytes, size: int, pack: int = 0) -> None:
    reading = await admit(stage, made, ticket, pack)
    assert isinstance(reading, Reading)
    await stage.links.count(reading, size)


def restarted(stage: LinkStage) -> ShareLinks:
    """The links of a relay that starts on what another left."""
    return ShareLinks(
        stage.store, stage.home / "links", b"s" * 32, LinkLimits(), stage.clock, stage.wall_clock
    )


@pytest.mark.row("A39")
async def test_a_download_is_taken_by_the_claim_and_counts_once_some_was_served(
    tmp_path: Path,
) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(packs=(4,), downloads_max=1)
        ticket = await claimed(stage, made)
        assert await claim(stage, made) == Later(RESERVED_S, is_taken=True)
        await served(stage, made, ticket, LEAF_SIZE)
        assert stage.links.listed(made.new.owner)[0].downloads == 1
        assert await claim(stage, made) == Gone(Ended.USED_UP)
        # What was claimed can be gone on with, and the manifest is on no disk any more.
        assert isinstance(await admit(stage, made, ticket), Reading)
        assert stage.blobs() == []


async def test_one_percent_of_a_small_link_and_a_mebibyte_of_a_large_one_count(
    tmp_path: Path,
) -> None:
    async with link_stage(tmp_path) as stage:
        large = await stage.made(packs_size=10 << 30)
        ticket = await claimed(stage, large)
        await served(stage, large, ticket, (1 << 20) - 1)
        assert stage.links.listed(large.new.owner)[0].downloads == 0
        await served(stage, large, ticket, 1)
        assert stage.links.listed(large.new.owner)[0].downloads == 1


async def test_what_was_not_had_is_given_back(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(downloads_max=1, packs_size=1 << 40)
        ticket = await claimed(stage, made)
        stage.wall_clock.now += RESERVED_S - 1
        await served(stage, made, ticket, 1000)  # which is a request
        stage.wall_clock.now += RESERVED_S - 1
        assert isinstance(await claim(stage, made), Later)
        stage.wall_clock.now += 1
        assert isinstance(await claim(stage, made), Claimed)
        assert await admit(stage, made, ticket) == Unknown()


@pytest.mark.row("A39")
async def test_what_is_given_back_is_there_at_once_and_what_was_served_is_not_given_back(
    tmp_path: Path,
) -> None:
    async with link_stage(tmp_path) as stage:
        made = stage.make(downloads_max=1, packs_size=1000)
        await stage.put(made)
        ticket = await claimed(stage, made)
        assert await stage.links.give_back(made.link_id, bytes(16)) == Unknown()
        assert await stage.links.give_back(made.link_id, ticket) is True
        assert await stage.links.give_back(made.link_id, ticket) == Unknown()
        assert await admit(stage, made, ticket) == Unknown()
        ticket = await claimed(stage, made)
        await served(stage, made, ticket, 1)  # less than what counts
        assert await stage.links.give_back(made.link_id, ticket) is False
        assert isinstance(await claim(stage, made), Later)
        await served(stage, made, ticket, 1000)
        assert await stage.links.give_back(made.link_id, ticket) is False
        assert await claim(stage, made) == Gone(Ended.USED_UP)
        await stage.links.revoke(made.link_id, made.key.revocation(1), 1)
        assert await stage.links.give_back(made.link_id, ticket) == Gone(Ended.REVOKED)


@pytest.mark.row("A39")
async def test_what_is_being_read_when_a_download_is_given_back_is_not_served(
    tmp_path: Path,
) -> None:
    async with link_stage(tmp_path) as stage:
        made = stage.make(downloads_max=1, packs_size=1 << 30)
        await stage.put(made)
        ticket = await claimed(stage, made)
        reading = await admit(stage, made, ticket)
        assert isinstance(reading, Reading)
        assert await stage.links.give_back(made.link_id, ticket) is True
        other = await claimed(stage, made)
        assert not await stage.links.count(reading, LEAF_SIZE)
        await served(stage, made, other, 1 << 20)
        row = stage.links.row_of(made.link_id)
        assert row is not None
        assert row.downloads == 1
        assert reading.download.served == 0


async def test_what_was_given_back_is_not_taken_after_a_restart(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = stage.make(downloads_max=1)
        await stage.put(made)
        assert await stage.links.give_back(made.link_id, await claimed(stage, made)) is True
        links = restarted(stage)
        await links.start()
        assert isinstance(await links.claim(made.link_id, made.token, HOST), Claimed)


async def test_of_many_who_claim_at_once_no_more_get_it_than_may(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(downloads_max=3)
        answers = await asyncio.gather(*(claim(stage, made) for _ in range(20)))
        tickets = [answer.ticket for answer in answers if isinstance(answer, Claimed)]
        assert len(tickets) == len(set(tickets)) == 3
        downloads = [await admit(stage, made, ticket) for ticket in tickets]
        await asyncio.gather(
            *(stage.links.count(d, LEAF_SIZE) for d in downloads * 5 if isinstance(d, Reading))
        )
        assert stage.links.listed(made.new.owner)[0].downloads == 3


@pytest.mark.row("A39")
async def test_a_link_expires_by_the_relay_s_clock_and_nothing_is_left(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(lifetime_s=3600)
        stage.wall_clock.now += 3500
        ticket = await claimed(stage, made)
        stage.wall_clock.now += 99
        assert isinstance(await admit(stage, made, ticket), Reading)
        stage.wall_clock.now += 1
        assert await admit(stage, made, ticket) == Gone(Ended.EXPIRED)
        assert await claim(stage, made) == Gone(Ended.EXPIRED)
        assert stage.blobs() == []
        assert await stage.store.rows("SELECT * FROM link_packs") == []


@pytest.mark.row("A39")
async def test_nobody_has_to_ask_for_an_expired_link_to_be_erased(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        await stage.made(lifetime_s=10)
        stage.wall_clock.now += 10
        await stage.links.sweep()
        assert stage.blobs() == []


@pytest.mark.row("A39")
async def test_a_relay_that_was_off_when_a_link_expired_ends_it_at_its_start(
    tmp_path: Path,
) -> None:
    async with link_stage(tmp_path) as stage:
        made, other = await stage.made(lifetime_s=10), await stage.made()
        ticket = await claimed(stage, made)
        stage.wall_clock.now += 3600
        links = restarted(stage)
        await links.start()
        assert [path.stem for path in stage.blobs()] == [other.link_id.hex()]
        assert await links.claim(made.link_id, made.token, HOST) == Gone(Ended.EXPIRED)
        assert await links.admit(made.link_id, made.packs[0], ticket) == Gone(Ended.EXPIRED)


@pytest.mark.row("A39")
@pytest.mark.parametrize("hours", [-1, 1])
async def test_an_end_stands_whatever_the_clock_says_later(tmp_path: Path, hours: int) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(lifetime_s=60)
        stage.wall_clock.now += 60
        await stage.links.sweep()
        stage.wall_clock.now += hours * 3600
        assert await claim(stage, made) == Gone(Ended.EXPIRED)


async def test_a_restart_forgets_no_download_that_counts_or_is_taken(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(downloads_max=2, packs=(4,))
        counted, taken = await claimed(stage, made), await claimed(stage, made)
        await served(stage, made, counted, LEAF_SIZE)
        links = restarted(stage)
        await links.start()
        assert isinstance(await links.claim(made.link_id, made.token, HOST), Later)
        for ticket in (counted, taken):
            found = await links.admit(made.link_id, made.packs[0], ticket)
            assert isinstance(found, Reading)


@pytest.mark.row("A39")
async def test_who_has_the_key_ends_a_link_and_nobody_else(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made, other = await stage.made(), await stage.made()
        for link_id, signature in (
            (made.link_id, other.key.revocation(5)),
            (made.link_id, made.key.revocation(6)),
            (made.link_id, bytes(64)),
            (os.urandom(16), made.key.revocation(5)),
        ):
            assert not await stage.links.revoke(link_id, signature, 5)
        assert await stage.links.revoke(made.link_id, made.key.revocation(5), 5)
        assert await claim(stage, made) == Gone(Ended.REVOKED)
        assert await stage.put(made) == Ended.REVOKED  # it does not come back
        assert isinstance(await claim(stage, other), Claimed)


@pytest.mark.row("A39")
async def test_the_newest_end_key_ends_a_link_and_an_earlier_one_does_not(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made, other = await stage.made(), await stage.made()
        old, new = os.urandom(32), os.urandom(32)
        for key in (old, new):
            assert await stage.links.set_end_key(made.link_id, end_key_hash(made.link_id, key))
        blob = seal_link(made.key, made.secrets, b"newer", flags=0, version=2, salt=os.urandom(32))
        again = Made(made.key, made.secrets, made.new, blob, made.packs)
        assert await stage.put(again) == Ended.LIVE, "it keeps its key"
        links = restarted(stage)
        await links.start()
        for link_id, key in (
            (made.link_id, old),
            (made.link_id, bytes(32)),
            (other.link_id, new),
            (other.link_id, bytes(32)),
            (os.urandom(16), new),
        ):
            assert not await links.end_by(link_id, key)
        assert await links.end_by(made.link_id, new)
        assert await links.claim(made.link_id, made.token, HOST) == Gone(Ended.REVOKED)
        assert [path for path in stage.blobs() if made.link_id.hex() in path.name] == []
        links = restarted(stage)
        await links.start()
        assert await links.claim(made.link_id, made.token, HOST) == Gone(Ended.REVOKED)
        assert await stage.put(made, links) == Ended.REVOKED, "it does not come back"
        assert isinstance(await links.claim(other.link_id, other.token, HOST), Claimed)


async def test_a_used_up_link_ends_once_nobody_goes_on_with_it(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(downloads_max=1)
        ticket = await claimed(stage, made)
        await served(stage, made, ticket, LEAF_SIZE)
        await stage.links.sweep()
        assert isinstance(await admit(stage, made, ticket), Reading)
        stage.wall_clock.now += GOES_ON_S
        await stage.links.sweep()
        assert stage.links.listed(made.new.owner)[0].ended == Ended.USED_UP


async def test_a_link_is_forgotten_long_after_its_end(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(lifetime_s=1)
        stage.wall_clock.now += 1
        await stage.links.sweep()
        stage.wall_clock.now += REMEMBERED_S
        await stage.links.sweep()
        assert stage.links.listed(made.new.owner) == []
        assert await claim(stage, made) == Unknown()
        assert await stage.store.rows("SELECT * FROM links") == []


async def test_a_link_is_made_again_under_its_id_by_a_higher_version_alone(
    tmp_path: Path,
) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made()
        ticket = await claimed(stage, made)
        with pytest.raises(CryptoError):
            await stage.put(made)
        blob = seal_link(made.key, made.secrets, b"newer", flags=0, version=2, salt=os.urandom(32))
        again = Made(made.key, made.secrets, made.new, blob, made.packs)
        other = Made(made.key, made.secrets, replace(made.new, owner=b"x" * 16), blob, made.packs)
        with pytest.raises(CryptoError):
            await stage.put(other)
        assert await stage.put(again) == Ended.LIVE
        assert stage.blobs()[0].read_bytes() == blob
        assert isinstance(await admit(stage, made, ticket), Reading)


@pytest.mark.row("A39")
async def test_a_blob_that_is_not_its_id_s_is_not_kept(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made, other = stage.make(), stage.make()
        path = stage.home / "links" / "incoming"
        for blob in (other.blob, made.blob[:-1], made.blob + b"x", b""):
            path.write_bytes(blob)
            with pytest.raises(CryptoError):
                await stage.links.put(made.new, path, made.link_id)
        assert await claim(stage, made) == Unknown()


async def test_quotas_are_the_owner_s_and_the_relay_s(tmp_path: Path) -> None:
    async with link_stage(tmp_path, LinkLimits(links_per_owner=2, links=3)) as stage:
        first, second = await stage.made(), await stage.made()
        third = stage.make()
        assert await stage.put(third) is None
        await stage.links.revoke(first.link_id, first.key.revocation(1), 1)
        assert await stage.put(third) == Ended.LIVE
        assert await stage.put(stage.make(owner=b"q" * 16)) == Ended.LIVE
        assert await stage.put(stage.make(owner=b"r" * 16)) is None
        assert [row.link_id for row in stage.links.listed(b"q" * 16)]
        assert second.link_id in {row.link_id for row in stage.links.listed(second.new.owner)}
    limits = LinkLimits(owner_bytes=400, lifetime_max_s=60)
    async with link_stage(tmp_path / "other", limits) as stage:
        made = await stage.made()
        assert stage.links.listed(made.new.owner)[0].expires_s == stage.wall_clock.now + 60
        assert await stage.put(stage.make()) is None


async def test_what_an_unfinished_put_left_is_removed_at_the_start(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made()
        (stage.home / "links" / "incoming-1").write_bytes(b"half")
        await restarted(stage).start()
        assert [path.stem for path in stage.blobs()] == [made.link_id.hex()]


@pytest.mark.row("A39")
async def test_one_link_is_not_guessed_at_from_many_addresses(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made, never = await stage.made(), stage.make()
        for part, link in enumerate((made, never)):
            answers = [
                await stage.links.claim(link.link_id, os.urandom(32), f"10.{part}.{at // 9}.1")
                for at in range(61)
            ]
            assert answers[:60] == [Unknown()] * 60
            assert isinstance(answers[60], Later)
        assert isinstance(await claim(stage, made), Later)


async def test_a_password_shows_in_the_head_and_nothing_else_does(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        plain, locked = await stage.made(), await stage.made(password_key=b"k" * 32)
        assert stage.links.head(plain.link_id) == (0, plain.secrets.password_salt)
        expected = (LinkFlags.PASSWORD, locked.secrets.password_salt)
        assert stage.links.head(locked.link_id) == expected
        never = os.urandom(16)
        assert stage.links.head(never) == stage.links.head(never)
        assert stage.links.head(never)[1] != stage.links.head(os.urandom(16))[1]


async def test_one_download_counts_once_however_many_requests_it_takes(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made(downloads_max=2)
        ticket = await claimed(stage, made)
        await asyncio.gather(*(served(stage, made, ticket, LEAF_SIZE) for _ in range(5)))
        rows = await stage.store.rows("SELECT downloads FROM links")
        assert rows == [(1,)]


def with_a_list(made: Made, list_leaves: int) -> Made:
    """A link whose last pack holds nothing but its list."""
    size = list_leaves * LEAF_SIZE
    new = replace(
        made.new, pages=frozenset(made.packs[-1:]), pages_size=size,
        packs_size=made.new.packs_size - size,
    )  # fmt: skip
    return replace(made, new=new)


async def listed_link(stage: LinkStage) -> Made:
    """Of 100 leaves of files, one of which is a download, and a list of four."""
    made = with_a_list(stage.make(packs=(50, 50, 4), downloads_max=1), 4)
    assert await stage.put(made) == Ended.LIVE
    return made


@pytest.mark.row("A39")
async def test_who_reads_the_list_has_had_nothing(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await listed_link(stage)
        ticket = await claimed(stage, made)
        await served(stage, made, ticket, 4 * LEAF_SIZE, pack=2)
        await served(stage, made, ticket, 4 * LEAF_SIZE, pack=2)  # an answer had broken off
        assert stage.links.listed(made.new.owner)[0].downloads == 0
        stage.wall_clock.now += RESERVED_S
        assert isinstance(await claim(stage, made), Claimed), "it was given back"


@pytest.mark.row("A39")
@pytest.mark.parametrize(
    "reads",
    [
        pytest.param([(0, 1)], id="a leaf of what is given"),
        pytest.param([(2, 4), (1, 1)], id="after the list"),
        pytest.param([(2, 4), (2, 4), (2, 1)], id="the list for the third time"),
        pytest.param([(2, 9)], id="more of the list than there is"),
    ],
)
async def test_who_takes_more_than_the_list_is_counted(
    tmp_path: Path, reads: list[tuple[int, int]]
) -> None:
    async with link_stage(tmp_path) as stage:
        made = await listed_link(stage)
        ticket = await claimed(stage, made)
        for pack, leaves in reads[:-1]:
            await served(stage, made, ticket, leaves * LEAF_SIZE, pack)
        assert stage.links.listed(made.new.owner)[0].downloads == 0
        ((pack, leaves),) = reads[-1:]
        await served(stage, made, ticket, leaves * LEAF_SIZE, pack)
        assert stage.links.listed(made.new.owner)[0].downloads == 1
        assert await claim(stage, made) == Gone(Ended.USED_UP)


async def test_a_restart_does_not_take_the_list_for_files(tmp_path: Path) -> None:
    async with link_stage(tmp_path) as stage:
        made = await listed_link(stage)
        ticket = await claimed(stage, made)
        links = restarted(stage)
        await links.start()
        for pack, is_list in ((0, False), (2, True)):
            reading = await links.admit(made.link_id, made.packs[pack], ticket)
            assert isinstance(reading, Reading)
            assert reading.is_list == is_list
            await links.count(reading, 0 if pack == 0 else 4 * LEAF_SIZE)
        assert links.listed(made.new.owner)[0].downloads == 0
        assert links.listed(made.new.owner)[0].pages_size == 4 * LEAF_SIZE


@pytest.mark.parametrize("when", ["it waits", "it is written"])
async def test_what_ended_while_it_was_put_again_stays_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with link_stage(tmp_path) as stage:
        made = await stage.made()
        ending: list[asyncio.Future[bool]] = []

        async def end() -> None:
            ending.append(
                asyncio.ensure_future(stage.links.revoke(made.link_id, made.key.revocation(1), 1))
            )
            await asyncio.sleep(0)  # it has begun to end here

        async with stage.store.transaction():  # which somebody else is at
            putting = asyncio.ensure_future(stage.put(newer(made)))
            await asyncio.sleep(0)
            if when == "it waits":
                await end()
        write_packs = link_rows.write_packs

        async def write(*args: Any) -> None:
            if not ending:
                await end()
            await write_packs(*args)

        monkeypatch.setattr(link_rows, "write_packs", write)
        assert await putting == Ended.REVOKED
        assert await asyncio.gather(*ending) == [True]
        for links in (stage.links, restarted(stage)):
            if links is not stage.links:
                await links.start()
            row = links.row_of(made.link_id)
            assert row is not None
            assert row.ended == Ended.REVOKED
        assert not [path for path in stage.blobs() if not path.name.startswith("incoming")]


async def test_of_two_that_are_put_at_once_one_finds_no_room(tmp_path: Path) -> None:
    async with link_stage(tmp_path, LinkLimits(links_per_owner=1)) as stage:
        put = await asyncio.gather(stage.put(stage.make()), stage.put(stage.make()))
        assert sorted(put, key=str) == [Ended.LIVE, None]


def newer(made: Made) -> Made:
    """The same link, to be put again."""
    blob = seal_link(
        made.key, made.secrets, b"anew", flags=LinkFlags.NONE, version=2, salt=os.urandom(32)
    )
    return replace(made, blob=blob)
