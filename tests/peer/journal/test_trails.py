"""Somebody who has a device's disk in hand cuts its audit trail: the other devices know better."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from peer.command_line.cli import main
from peer.daemon import Daemon
from peer.journal.trail_file import segments_of
from protocol.events import TrailsReceived
from tests.peer.device_stage import Stage, device_id, devices, make_homes, until


def entries_held(daemon: Daemon, other: Daemon) -> int:
    held = daemon.trails._held.checkpoints()
    return max((c.entries for c in held if c.device_id == device_id(other)), default=0)


async def verified(home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """What `log verify` says of trails, its exit code first."""
    code = await asyncio.to_thread(main, ["--home", str(home), "log", "verify", "--json"])
    verdict = json.loads(capsys.readouterr().out.splitlines()[0])
    return code, [one["problem"] for one in verdict["held"] if one["problem"]]


async def pair(stage: Stage) -> tuple[Daemon, Daemon]:
    one, two = await stage.start("one"), await stage.start("two")
    await stage.meet(one, two)
    return one, two


@pytest.mark.row("A41")
@pytest.mark.parametrize("how", ["cut", "gone"])
async def test_a_trail_that_was_cut_off_or_removed_is_found_by_both(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await make_homes(tmp_path, "one", "two")
    async with devices(tmp_path) as stage:
        one, two = await pair(stage)
        for number in range(50):
            one.witness.trail.note("deed", number=number)
        one.trails._network.tell_own(one.trails.known())
        await until(lambda: entries_held(two, one) >= 51)
        assert (await verified(stage.home("two"), capsys)) == (0, [])
        for stranger in (b"", b"x" * 200, one.trails.known().checkpoints[0][:-1] + b"?"):
            (link,) = two.network.status()
            await two.trails._received(TrailsReceived((stranger,)), link)
        assert [h.problem for h in two.trails._held.all()] == [""]
    (path,) = segments_of(stage.home("one") / "trail")
    if how == "gone":
        path.unlink()
    else:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:3]))  # whose, where it begins, and one entry
    async with devices(tmp_path) as stage:
        one, two = await pair(stage)
        await until(lambda: any(h.problem for h in two.trails._held.all()))
        await until(lambda: any(h.problem for h in one.trails._held.all()))
        said = [n["text"] for n in two.witness.board.listed(unread_only=True, limit=99)]
        assert any("The audit trail of one was tampered with" in text for text in said)
        said = [n["text"] for n in one.witness.board.listed(unread_only=True, limit=99)]
        assert any("is not the one that it signed" in text for text in said)
        for name in ("one", "two"):
            code, problems = await verified(stage.home(name), capsys)
            assert code == 48
            assert len(problems) == 1
        assert ("begun anew" if how == "gone" else "cut off") in problems[0]
