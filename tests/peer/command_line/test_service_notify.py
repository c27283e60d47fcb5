"""What a service manager is told."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.command_line.service_notify import tell, told_to_manager, watchdog_interval_s


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


async def test_it_is_told_that_the_daemon_is_ready_lives_and_stops(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    told = []
    async with asyncio.TaskGroup() as tasks:
        async with told_to_manager(tasks):
            for _ in range(3):
                told.append(await asyncio.to_thread(manager.recv, 100))
    told.append(manager.recv(100))
    assert told[0] == b"READY=1"
    assert set(told[1:3]) == {b"WATCHDOG=1"}
    assert b"STOPPING=1" in (told[3], manager.recv(100) if told[3] == b"WATCHDOG=1" else b"")


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"holdfast-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        receiver.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert tell("READY=1")
        assert receiver.recv(100) == b"READY=1"


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all"])
def test_where_nobody_listens_nothing_happens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    assert not tell("READY=1")


@pytest.mark.parametrize(
    ("allowed", "pid", "interval_s"),
    [("120000000", None, 60.0), ("120000000", "1", None), ("", None, None), ("soon", None, None)],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    allowed: str, pid: str | None, interval_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", allowed)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert watchdog_interval_s() == interval_s
