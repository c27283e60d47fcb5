"""Each question of the screen reaches the daemon, from another thread."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peer.errors import NoDevice
from peer.status import Choice, HoldAnswer
from tests.peer.fake_daemon import RELAY, running
from tui.daemon import Daemon


async def test_every_act_asks_for_what_it_says(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        daemon = Daemon(tmp_path)
        await daemon.invite()
        await daemon.add_folder(tmp_path, "photos")
        await daemon.attach_folder("f", tmp_path)
        await daemon.remove_folder("f")
        await daemon.set_paused("f", True)
        await daemon.set_paused("f", False)
        await daemon.answer("f", HoldAnswer.RESTORE)
        await daemon.remove_device("d")
        await daemon.add_relay(str(RELAY))
        await daemon.remove_relay("r")
        assert await daemon.versions(str(tmp_path / "note")) == (
            await fake.versions(tmp_path / "note"), False,
        )  # fmt: skip
        assert (await daemon.versions(str(tmp_path)))[1]
        await daemon.resolve(str(tmp_path), Choice.BOTH)
        assert (await daemon.search("a"))["query"] == "a"
        await daemon.restore(tmp_path / "note", 7, tmp_path / "out")
        assert fake.calls == [
            ("invite",), ("add_folder", tmp_path, "photos"), ("attach_folder", "f", tmp_path),
            ("remove_folder", "f"), ("pause", "f"), ("resume", "f"),
            ("answer_hold", "f", "restore"), ("remove_device", "d"), ("add_relay", RELAY),
            ("remove_relay", "r"), ("versions", tmp_path / "note"),
            ("versions", tmp_path / "note"), ("deleted", tmp_path),
            ("resolve", tmp_path, "both"),
            ("search", "a", 50),
            ("restore", tmp_path / "note", 7, None, tmp_path / "out"),
        ]  # fmt: skip


async def test_who_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoDevice):
        await Daemon(tmp_path).status()


async def test_the_screen_goes_on_while_the_daemon_thinks(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        asked, may_answer = asyncio.Event(), asyncio.Event()
        answer = fake.status

        async def think() -> object:
            asked.set()
            await may_answer.wait()
            return await answer()

        fake.status = think  # type: ignore[method-assign,assignment]
        question = asyncio.ensure_future(Daemon(tmp_path).status())
        await asked.wait()
        assert not question.done()
        may_answer.set()
        assert (await question)["device"]["name"] == "alpha"
