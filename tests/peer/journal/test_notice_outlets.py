"""Commands and webhooks that fail and hang: they are tried again, and delay nobody."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from peer.journal import notice_outlets
from peer.journal.notice_outlets import Outlet, OutletFailed, open_outlets, run_command
from peer.journal.notices import Notice
from tests.peer.device_stage import until
from tests.peer.journal.test_webhook import server


def notice(number: int, kind: str = "joined") -> Notice:
    return Notice(number, 1, 1, kind, "f", f"about {number}")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice_outlets, "RETRY_WAITS_S", (0.0, 0.0))


async def test_what_fails_is_tried_again_and_then_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []

    async def send(one: Notice) -> None:
        tried.append(one.id)
        if one.id == 1:
            raise OutletFailed("no")

    outlet = Outlet("hook", send)
    settled: list[tuple[int, str]] = []
    outlet.on_settled = lambda one, name: settled.append((one.id, name))
    async with asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(outlet.run())
        outlet.put(notice(1))
        outlet.put(notice(2))
        await until(lambda: len(settled) == 2)
        worker.cancel()
    assert tried == [1, 1, 1, 2]
    assert settled == [(1, "hook"), (2, "hook")]
    assert "notice 1 is given up: no" in caplog.text


async def test_the_urgent_is_told_first_and_the_queue_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notice_outlets, "QUEUE_MAX", 3)
    told: list[int] = []

    async def send(one: Notice) -> None:
        told.append(one.id)

    outlet = Outlet("hook", send)
    dropped: list[int] = []
    outlet.on_settled = lambda one, name: dropped.append(one.id)
    for number in (1, 2, 3, 4):
        outlet.put(notice(number))
    outlet.put(notice(5, "trouble"))
    assert dropped == [4, 3]
    async with asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(outlet.run())
        await until(lambda: len(told) == 3)
        worker.cancel()
    assert told == [5, 1, 2]


async def test_what_grows_while_it_waits_is_told_once() -> None:
    told: list[str] = []

    async def send(one: Notice) -> None:
        told.append(one.text)

    outlet, growing = Outlet("hook", send), notice(1, "conflict")
    for growing.count in (1, 2, 3):
        outlet.put(growing)
    outlet.put(notice(2))
    async with asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(outlet.run())
        await until(lambda: len(told) == 2)
        worker.cancel()
    assert "3 files" in told[0]


async def test_a_command_is_given_the_sentence_and_the_whole_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_PASSPHRASE", "canary")
    out = tmp_path / "out"
    program = (
        "import json,os,sys;"
        f"open({str(out)!r},'w').write(json.dumps("
        "[sys.argv[1:], json.load(sys.stdin), [v for v in os.environ.values() if v=='canary']]))"
    )
    one = notice(1)
    one.about = "$(reboot) `x`; 'y'"
    await run_command([sys.executable, "-c", program, "first"], one, "laptop")
    arguments, told, secrets = json.loads(out.read_text())
    assert arguments == ["first", one.text]
    assert (told["device"], told["kind"], told["text"]) == ("laptop", "joined", one.text)
    assert secrets == []


@pytest.mark.parametrize("command", [["/nowhere/at/all"], ["false"]])
async def test_a_command_that_fails_is_a_failure(command: list[str]) -> None:
    with pytest.raises(OutletFailed):
        await run_command(command, notice(1), "laptop")


async def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice_outlets, "COMMAND_TIMEOUT_S", 3.0)
    pid = tmp_path / "pid"
    script = f"sleep 1000 & echo $! > {pid}; wait"
    with pytest.raises(OutletFailed, match="longer"):
        await run_command(["sh", "-c", script], notice(1), "laptop")
    child = int(pid.read_text())

    def is_gone() -> bool:
        try:
            return "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return not os.path.exists(f"/proc/{child}")

    await until(is_gone)


async def test_each_way_that_was_set_is_one_outlet() -> None:
    assert open_outlets((), "", "laptop") == []
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, got):
        command, webhook = open_outlets(("true",), url, "laptop")
        assert [command.name, webhook.name] == ["notifications.command", "notifications.webhook"]
        async with asyncio.TaskGroup() as tasks:
            worker = tasks.create_task(webhook.run())
            webhook.put(notice(1))
            await until(lambda: b'"device": "laptop"' in got())
            worker.cancel()
