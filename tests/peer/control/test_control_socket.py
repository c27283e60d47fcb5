import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from peer.control.control_client import SOCKET_NAME, TOKEN_NAME, ControlClient
from peer.errors import DaemonNotRunning
from tests.peer.fake_daemon import running


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_asked_through_the_socket_on_either_loop(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def ask() -> list[int]:
        async with running(tmp_path) as daemon:
            client = ControlClient(tmp_path, timeout_s=5)
            statuses = [await asyncio.to_thread(client.status) for _ in range(3)]
            assert statuses == [await daemon.status()] * 3
            return [mode_of(tmp_path / SOCKET_NAME), mode_of(tmp_path / TOKEN_NAME)]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(ask()) == [0o600, 0o600]
    assert not (tmp_path / SOCKET_NAME).exists()


async def test_a_home_with_a_long_path(tmp_path: Path) -> None:
    home = tmp_path / ("h" * 120)
    async with running(home):
        place = (home / SOCKET_NAME).readlink()
        assert mode_of(place.parent) == 0o700
        assert mode_of(place) == 0o600
        status = await asyncio.to_thread(ControlClient(home, timeout_s=5).status)
        assert status["device"]["name"] == "alpha"
    assert not place.parent.exists()
    assert not (home / SOCKET_NAME).is_symlink()


async def test_what_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / SOCKET_NAME))
    left.close()
    (tmp_path / TOKEN_NAME).write_text("old")
    (tmp_path / f"{TOKEN_NAME}.new").write_text("half")
    client = ControlClient(tmp_path, timeout_s=5)
    with pytest.raises(DaemonNotRunning):
        client.status()
    async with running(tmp_path):
        await asyncio.to_thread(client.status)
        assert (tmp_path / TOKEN_NAME).read_text() != "old"


async def test_each_start_has_its_own_token(tmp_path: Path) -> None:
    tokens = set()
    for _ in range(2):
        async with running(tmp_path):
            tokens.add((tmp_path / TOKEN_NAME).read_text())
    assert len(tokens) == 2
    assert all(len(token) >= 43 for token in tokens)  # 256 bits


async def test_a_request_under_way_is_finished(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon, asyncio.TaskGroup() as group:
        reached, may_go = asyncio.Event(), asyncio.Event()

        async def slow_stop() -> None:
            reached.set()
            await may_go.wait()

        daemon.stop = slow_stop  # type: ignore[method-assign]
        asking = group.create_task(asyncio.to_thread(ControlClient(tmp_path, timeout_s=5).stop))
        await reached.wait()
        asyncio.get_running_loop().call_later(0.05, may_go.set)
    assert asking.done()


@pytest.mark.row("A36")
async def test_a_browser_that_speaks_to_the_socket_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME)
        writer.write(b"GET /api/sync/status HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert b"403" in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert daemon.calls == []
