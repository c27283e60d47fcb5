"""What happens on whole devices is in their trails, and stays there through a kill."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from peer.daemon import Daemon
from peer.device.config import KEYS
from peer.device.home_store import Device
from peer.folders.folder import Folder
from peer.folders.progress import CHANGING
from peer.journal import witness
from peer.journal.trail_file import read_back, verify_trail
from peer.journal.witness import CONFIG_SETTING, STEADY_LOOKS
from peer.status import Choice, FolderState
from tests.peer.device_stage import devices, until


def entries(daemon: Daemon) -> list[dict[str, Any]]:
    return [line.entry for line in read_back(daemon.witness.trail.directory)][::-1]


async def test_devices_folders_and_files_are_told_of(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        (stage.root("one") / "a").write_bytes(b"1")
        await until(lambda: any(e["what"] == "files" for e in entries(two)))
        (file,) = [e for e in entries(two) if e["what"] == "files"]
        assert (file["by"], file["device"]) == ("one", one.home.keys.device_id.hex())
        assert (file["folder"], file["paths"]) == ("f", {"created": ["a"]})
        await until(
            lambda: any(e["what"] == "offered" and e["folder"] == "f" for e in entries(two))
        )
        joined = [e for e in entries(one) if e["what"] == "joined"]
        assert [(e["name"], e["joined"]) for e in joined] == [
            ("two", two.home.keys.device_id.hex())
        ]
        await one.remove_device("two")
        assert [e["name"] for e in entries(one) if e["what"] == "removed"] == ["two"]
        one.witness.acted("/api/sync/pause", {"folder": "f"})
        assert entries(one)[-1]["with"] == {"folder": "f"}
        for daemon in (one, two):
            assert verify_trail(daemon.witness.trail.directory).problems == []


async def test_a_setting_is_told_of_as_it_is_written(tmp_path: Path) -> None:
    """Once: not by what an earlier version kept in other words."""
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        before = {key.dotted: repr(getattr(one.config, name)) for name, key in KEYS.items()}
        before |= {"network.listen": "(('192.0.2.1', 1),)", "search.text": "False"}
        before |= {"notifications.webhook": "'https://example.org/secret'"}
        async with one.home.store.transaction() as write:
            await write.put_setting(CONFIG_SETTING, json.dumps(before).encode())
        for _ in range(2):
            await one.witness._note_settings()
        assert {e["key"]: e["value"] for e in entries(one) if e["what"] == "setting"} == {
            "network.listen": '["127.0.0.1:0"]',
            "search.text": "true",
            "notifications.webhook": "another",
        }
        assert len([e for e in entries(one) if e["what"] == "setting"]) == 3


async def test_a_home_that_was_copied_goes_on_in_its_own_chain(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        await stage.found("one")
    (tmp_path / "home-one").rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "home-one")
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        verdict = verify_trail(one.witness.trail.directory)
        assert verdict.problems == []
        assert any("new chain" in note for note in verdict.notes)


async def kinds_of(daemon: Daemon) -> list[str]:
    listed = await daemon.witness.notifications(unread_only=True, limit=100)
    return [one["kind"] for one in listed["notifications"]]


async def test_what_a_person_should_hear_of_is_kept_over_a_restart(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        assert await kinds_of(one) == ["joined"]
        folder, _ = await stage.share(one, two)
        await until(lambda: "offered" in {n.kind for n in two.witness.board.notices.values()})
        two.witness.look()
        assert "offered" not in await kinds_of(two)  # it is attached
        folder.progress.problems["a", "b"] = "It cannot be read."
        await until(lambda: folder.progress.state is FolderState.IN_SYNC)
        one.witness.look()
        one.witness.look()
        assert await kinds_of(one) == ["trouble", "joined"]
        listed = await one.witness.notifications(unread_only=True, limit=1)
        assert listed["notifications"][0]["text"] == "In f: a/b: It cannot be read."
        assert listed["unread"] == 2
        assert await one.witness.mark_as_read([listed["notifications"][0]["id"]]) == 1
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        assert await kinds_of(one) == ["joined"]


async def test_a_command_that_has_run_does_not_run_again_after_a_restart(tmp_path: Path) -> None:
    """Whatever became of the webhook, which is tried again."""
    told = tmp_path / "told"
    command = ("sh", "-c", f'echo "$0" >> {shlex.quote(str(told))}')
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # it does not listen: whoever connects is refused
        hook = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        async with devices(tmp_path) as stage:
            one = await stage.found("one", notice_command=command, notice_webhook=hook)
            board = one.witness.board
            board.tell("warning", int(time.time()), "f", "first")
            one.witness.look()
            (notice,) = board.notices.values()
            await until(lambda: notice.waiting == ["notifications.webhook"])
            assert told.read_text() == "Of f: first\n"
        async with devices(tmp_path) as stage:
            one = await stage.start("one", notice_command=command, notice_webhook=hook)
            (notice,) = one.witness.board.notices.values()
            assert notice.waiting == ["notifications.webhook"]
            one.witness.board.tell("warning", int(time.time()), "f", "second")
            one.witness.look()
            await until(lambda: "second" in told.read_text())
            assert told.read_text() == "Of f: first\nOf f: second\n"


async def test_a_file_that_is_being_copied_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        await one.add_folder(stage.root("one"), "f")
        (folder,) = one.network.folders.values()
        await until(lambda: folder.progress.state is FolderState.IN_SYNC)
        folder.progress.problems["big",] = CHANGING
        for _ in range(STEADY_LOOKS + 1):
            one.witness.look()
        assert await kinds_of(one) == []
        monkeypatch.setattr(witness, "CHANGING_S", 0)  # for so long already
        one.witness.look()
        assert await kinds_of(one) == ["trouble"]
        folder.progress.problems["locked",] = "It cannot be read."
        monkeypatch.undo()
        one.witness.look()
        listed = await one.witness.notifications(unread_only=True, limit=1)
        assert listed["notifications"][0]["text"].startswith("In f: locked: It cannot be read.")


async def test_a_device_that_said_its_name_late_is_told_of_by_it(tmp_path: Path) -> None:
    """As one that came by the recovery kit: it was told of before there was a link to it."""
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        id_ = two.home.keys.device_id
        one.witness._told("joined", id_, {})
        async with one.home.store.transaction() as write:
            await write.put_device(Device(id_, "two", 1.0))
        await one.witness.name_devices()
        texts = [notice.text for notice in one.witness.board.notices.values()]
        assert all(text.startswith("The device two is one of yours") for text in texts)
        assert len(texts) == 2


async def until_no_conflict(daemon: Daemon) -> None:
    """Waits until the scan has found the decision."""
    async with asyncio.timeout(45):
        while (await daemon.conflicts())["conflicts"]:
            await asyncio.sleep(0)


async def test_two_edits_of_one_file_are_told_of(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        folders = await stage.share(one, two)
        (stage.root("one") / "a").write_bytes(b"0")
        await until(lambda: (stage.root("two") / "a").exists())
        for folder in folders:
            folder.pause(True)
        (stage.root("one") / "a").write_bytes(b"1")
        (stage.root("two") / "a").write_bytes(b"22")
        for folder in folders:
            folder.pause(False)
        boards = [one.witness.board, two.witness.board]
        await until(lambda: all("conflict" in {n.kind for n in b.notices.values()} for b in boards))
        # It is over on both once one of them has decided.
        await until(lambda: all(f.progress.state is FolderState.IN_SYNC for f in folders))
        (found,) = (await one.conflicts())["conflicts"]
        await one.witness.settle_conflicts()
        assert "conflict" in await kinds_of(one)
        await one.resolve(Path(found["place"]), Choice.ORIGINAL)
        for daemon, folder in zip((one, two), folders, strict=True):
            await until_no_conflict(daemon)
            await until(lambda f=folder: f.progress.state is FolderState.IN_SYNC)  # type: ignore[misc]
            await daemon.witness.settle_conflicts()
            assert "conflict" not in await kinds_of(daemon)


async def test_what_two_devices_told_differently_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        await one.add_folder(stage.root("one"), "f")

        async def suspicions(folder: Folder) -> list[str]:
            return [f"A device of {folder.engine.name} has told two histories."]

        monkeypatch.setattr(one._reports, "suspicions", suspicions)
        await one.witness._suspect()
        assert await kinds_of(one) == ["warning"]
