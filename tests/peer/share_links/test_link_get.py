"""`get` against a real endpoint: whole, interrupted, and lied to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crypto.packs import LEAF_SIZE
from peer.errors import (
    LinkDamaged,
    LinkEnded,
    LinkUnknown,
    LinkUnreachable,
    PathUnusable,
    PeerError,
    WrongLinkPassword,
)
from peer.share_links.link_get import RUN_SIZE, WORK_PREFIX, Got, get, runs
from peer.share_links.link_visit import Visitor
from protocol.link_manifest import SharedChunk
from protocol.share_url import ShareUrl
from tests.peer.link_source import Source, source
from tests.relay.web_stage import web_stage

NOISE = Random(6).randbytes(700_000)
FILES = {
    "Reise/Bild.raw": NOISE,
    "Reise/Notizen/Tag 1.txt": b"warm und hell\n" * 20_000,
    "Reise/leer.txt": b"",
    "Reise/nichts/": b"",
}


def nobody() -> str:
    raise AssertionError("nobody is asked for a password")


def patient(source: Source) -> Visitor:
    return Visitor(source.url, sleep=lambda seconds: None)


async def fetch(link: Source, place: Path, ask: Callable[[], str] = nobody, **more: Any) -> Got:
    return await asyncio.to_thread(get, link.url, place, ask, visitor=patient(link), **more)


def check(place: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        if path.endswith("/"):
            assert (place / path).is_dir()
        else:
            assert (place / path).read_bytes() == data
            assert (place / path).stat().st_mtime_ns == 1_700_000_000_123_000_000
    there = {str(p.relative_to(place)) for p in place.rglob("*") if p.is_file()}
    assert there == {path for path in files if not path.endswith("/")}


async def test_a_folder_comes_whole(tmp_path: Path) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, FILES)
        seen: list[tuple[int, int]] = []
        place = tmp_path / "there" / "new"
        got = await fetch(link, place, progress=lambda *both: seen.append(both))
        assert got == Got(["Reise"], 4, sum(map(len, FILES.values())))
        check(place, FILES)
        assert seen[0] == (0, got.size)
        assert seen[-1] == (got.size, got.size)


async def test_one_file_comes_under_its_name_and_nothing_is_written_over(tmp_path: Path) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"Bild.raw": NOISE}, downloads_max=2)
        place = tmp_path / "there"
        await fetch(link, place)
        (place / "Bild.raw").write_bytes(b"mine")
        with pytest.raises(PathUnusable, match="already"):
            await fetch(link, place)
        assert (place / "Bild.raw").read_bytes() == b"mine"


async def test_a_link_with_a_password_takes_it(tmp_path: Path) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, FILES, password="Blaue Täler")
        for wrong in ("blaue Täler", ""):
            with pytest.raises(WrongLinkPassword):
                await fetch(link, tmp_path / "there" / "new", lambda: wrong)  # noqa: B023
        assert not (tmp_path / "there").exists(), "nothing has come"
        await fetch(link, tmp_path / "there", lambda: "Blaue Ta\u0308ler")
        check(tmp_path / "there", FILES)


class Interrupted(Exception):
    pass


async def test_an_interrupted_get_goes_on_with_the_same_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.share_links.link_get.SYNCED_BYTES", 150_000)
    monkeypatch.setattr("peer.share_links.link_get.RUN_SIZE", 2 * LEAF_SIZE)
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, FILES, downloads_max=1)
        place = tmp_path / "there"
        for part in (250_000, 500_000, 800_000):

            def stop(done: int, size: int, limit: int = part) -> None:
                if done >= limit:
                    raise Interrupted

            with pytest.raises(Interrupted):
                await fetch(link, place, progress=stop)
            names = [path.name for path in place.iterdir()]
            assert [name.startswith(WORK_PREFIX) for name in names] == [True]
        begun: list[int] = []
        await fetch(link, place, progress=lambda done, size: begun.append(done))
        assert begun[0] >= 700_000  # a file that was whole is not fetched again
        check(place, FILES)


async def test_ends_are_told_in_words(tmp_path: Path) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, FILES)
        await stage.links.links.revoke(link.made.link_id, link.made.key.revocation(3), 3)
        with pytest.raises(LinkEnded, match="revoked"):
            await fetch(link, tmp_path / "there")
        wrong = ShareUrl(link.url.base, os.urandom(16), os.urandom(32))
        with pytest.raises(LinkUnknown):
            await asyncio.to_thread(get, wrong, tmp_path / "there", nobody)


@pytest.mark.row("A39")
async def test_a_revocation_stops_a_get_under_way_and_leaves_nothing_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.share_links.link_get.RUN_SIZE", LEAF_SIZE)
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": NOISE * 8})
        loop = asyncio.get_running_loop()
        revoked: list[object] = []

        def revoke(done: int, size: int) -> None:
            if done and not revoked:
                work = stage.links.links.revoke(link.made.link_id, link.made.key.revocation(3), 3)
                revoked.append(asyncio.run_coroutine_threadsafe(work, loop).result(60))

        with pytest.raises(LinkEnded, match="revoked"):
            await fetch(link, tmp_path / "there", progress=revoke)
        assert not (tmp_path / "there" / "a").exists()


@pytest.mark.row("A07")
@pytest.mark.row("A39")
@pytest.mark.parametrize("how", ["flip", "swap", "other pack", "short", "zero"])
async def test_a_relay_that_lies_is_found_out_before_anything_has_a_name(
    tmp_path: Path, how: str
) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": NOISE})
        packs = stage.links.packs.packs
        (id_,) = link.made.packs
        pack = bytearray(packs[id_])
        if how == "flip":
            pack[len(pack) // 2] ^= 1
        elif how == "swap":
            pack[:LEAF_SIZE], pack[LEAF_SIZE : 2 * LEAF_SIZE] = (
                pack[LEAF_SIZE : 2 * LEAF_SIZE],
                pack[:LEAF_SIZE],
            )
        elif how == "other pack":
            pack = bytearray(os.urandom(len(pack)))
        elif how == "short":
            del pack[-LEAF_SIZE:]
        else:
            pack = bytearray(len(pack))
        packs[id_] = bytes(pack)
        expected: type[PeerError] = LinkUnreachable if how == "short" else LinkDamaged
        with pytest.raises(expected):
            await fetch(link, tmp_path / "there")
        assert not (tmp_path / "there" / "a").exists()


@pytest.mark.row("A39")
async def test_a_relay_that_gives_another_link_s_manifest_is_found_out(tmp_path: Path) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link, other = await source(stage, {"a": b"mine"}), await source(stage, {"a": b"theirs"})
        paths = {path.stem: path for path in stage.links.blobs()}
        mine, theirs = (paths[each.made.link_id.hex()] for each in (link, other))
        mine.write_bytes(theirs.read_bytes())
        with pytest.raises(LinkDamaged):
            await fetch(link, tmp_path / "there")
        assert list((tmp_path / "there").rglob("a")) == []


async def test_a_download_that_was_given_back_is_claimed_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.share_links.link_get.RUN_SIZE", LEAF_SIZE)
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": NOISE}, packs_size=1 << 40)
        late: list[int] = []

        def wait(done: int, size: int) -> None:
            if done and not late:
                late.append(1)
                stage.links.wall_clock.now += 700

        await fetch(link, tmp_path / "there", progress=wait)
        check(tmp_path / "there", {"a": NOISE})


@pytest.mark.row("A39")
@pytest.mark.parametrize("is_again", [False, True], ids=["at once", "after another try"])
async def test_who_is_refused_for_a_file_that_is_there_can_come_again_at_once(
    tmp_path: Path, is_again: bool
) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": NOISE}, downloads_max=1)
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "a").write_bytes(b"mine")
        for _ in range(1 + is_again):
            with pytest.raises(PathUnusable, match="nothing is written over it"):
                await fetch(link, tmp_path / "there")
        assert [path.name for path in (tmp_path / "there").iterdir()] == ["a"]
        await fetch(link, tmp_path / "elsewhere")
        check(tmp_path / "elsewhere", {"a": NOISE})
        assert (tmp_path / "there" / "a").read_bytes() == b"mine"


async def test_what_has_come_is_kept_for_who_moves_the_file_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.share_links.link_get.RUN_SIZE", LEAF_SIZE)
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": NOISE}, downloads_max=1)
        there = tmp_path / "there"

        def appear(done: int, size: int) -> None:
            if done == size:
                (there / "a").write_bytes(b"mine")

        with pytest.raises(PathUnusable):
            await fetch(link, there, progress=appear)
        with pytest.raises(PathUnusable):
            await fetch(link, there)
        (there / "a").unlink()
        stage.links.packs.packs.clear()
        await fetch(link, there)
        check(there, {"a": NOISE})


async def test_a_relay_that_takes_no_download_back_costs_a_wait_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": NOISE}, downloads_max=1)
        there = tmp_path / "there"
        there.mkdir()
        (there / "a").write_bytes(b"mine")
        asked = Visitor._once

        def older(visitor: Visitor, method: str, *rest: Any) -> Any:
            return (405, {}, b"") if method == "DELETE" else asked(visitor, method, *rest)

        monkeypatch.setattr(Visitor, "_once", older)
        with pytest.raises(PathUnusable):
            await fetch(link, there)
        (there / "a").unlink()
        await fetch(link, there)  # by the ticket that it has
        check(there, {"a": NOISE})


async def test_a_pack_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": NOISE})
        stage.links.packs.is_away = True
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            stage.links.packs.is_away = False

        visitor = Visitor(link.url, sleep=sleep)
        await asyncio.to_thread(get, link.url, tmp_path / "there", nobody, visitor=visitor)
        assert waits
        stage.links.packs.is_away = True
        with pytest.raises(LinkUnreachable):
            await fetch(link, tmp_path / "elsewhere")


def chunk(pack: int, offset: int, length: int = 1000) -> SharedChunk:
    return SharedChunk(pack, offset, length, 0, 10, b"k" * 32, b"h" * 32)


def test_neighbours_are_asked_for_together_and_others_are_not() -> None:
    near = [chunk(0, 32), chunk(0, 1032), chunk(0, LEAF_SIZE * 3 - 1)]
    far = [chunk(0, 32), chunk(1, 32), chunk(1, RUN_SIZE + 5), chunk(1, 40)]
    assert [(r.first, r.end, len(r.chunks)) for r in runs(near[:2])] == [(0, LEAF_SIZE, 2)]
    assert [len(r.chunks) for r in runs(near)] == [2, 1]
    assert [(r.pack, len(r.chunks)) for r in runs(far)] == [(0, 1), (1, 1), (1, 1), (1, 1)]
    assert list(runs([])) == []


def test_no_run_is_longer_than_may_be() -> None:
    many = [chunk(0, 32 + at * 500_000, 500_000) for at in range(40)]
    found = list(runs(many))
    assert [c for run in found for c in run.chunks] == many
    assert all(run.end - run.first <= RUN_SIZE for run in found)
