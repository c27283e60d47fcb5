"""The stream of events: what is missed comes again, and nobody is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peer.control.control_client import ControlClient
from peer.errors import DaemonNotRunning
from peer.journal import event_stream
from peer.journal.event_stream import KEPT_MAX, LAG_MAX, READERS_MAX, EventStream, TooManyReaders
from tests.peer.device_stage import until
from tests.peer.fake_daemon import running


async def take(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, str]]:
    out = []
    for _ in range(count):
        lines = (await anext(stream)).decode().splitlines()
        out.append((lines[0].removeprefix("id: "), lines[1].removeprefix("event: ")))
    return out


async def test_events_come_in_order_with_ids() -> None:
    events = EventStream()
    events.publish("before")
    stream = events.follow(None)
    events.publish("files", folder="a\nb", count=3)
    assert await take(stream, 1) == [(f"{events.run}-1", "hello")]
    text = (await anext(stream)).decode()
    assert text == (f'id: {events.run}-2\nevent: files\ndata: {{"folder":"a\\nb","count":3}}\n\n')


async def test_who_comes_back_is_told_what_was_missed() -> None:
    events = EventStream()
    for number in range(5):
        events.publish(f"e{number}")
    stream = events.follow(f"{events.run}-3")
    events.publish("e5")
    assert [kind for _, kind in await take(stream, 4)] == ["hello", "e3", "e4", "e5"]
    nothing_missed = events.follow(f"{events.run}-6")
    assert await take(nothing_missed, 1) == [(f"{events.run}-6", "hello")]


async def test_who_missed_too_much_or_another_run_begins_anew() -> None:
    events = EventStream()
    for _ in range(KEPT_MAX + 10):
        events.publish("e")
    for last in (f"{events.run}-9", f"{events.run}-99999", "00000000-5", "nonsense", "", "-"):
        (told,) = await take(events.follow(last), 1)
        assert told == (f"{events.run}-{KEPT_MAX + 10}", "reset")
    (told,) = await take(events.follow(f"{events.run}-10"), 1)
    assert told[1] == "hello"


async def test_a_slow_reader_is_let_go_and_holds_no_memory() -> None:
    events = EventStream()
    slow, quick = events.follow(None), events.follow(None)
    await take(slow, 1)
    await take(quick, 1)
    for _ in range(LAG_MAX + 5):
        events.publish("e")
        await take(quick, 1)
    assert events.readers == 1
    assert len([event async for event in slow]) == LAG_MAX


async def test_readers_are_bounded_and_leave_their_place() -> None:
    events = EventStream()
    streams = [events.follow(None) for _ in range(READERS_MAX)]
    with pytest.raises(TooManyReaders):
        events.follow(None)
    for stream in streams:
        await take(stream, 1)
    await streams[0].aclose()  # type: ignore[attr-defined]
    assert events.readers == READERS_MAX - 1
    events.close()
    assert [event async for event in streams[1]] == []
    assert events.readers == 0
    with pytest.raises(TooManyReaders):
        events.follow(None)


async def test_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    stream = EventStream().follow(None)
    await take(stream, 1)
    assert await anext(stream) == b":\n\n"


async def test_over_the_socket_they_come_as_they_happen_and_end_with_the_daemon(
    tmp_path: Path,
) -> None:
    heard: list[tuple[str, str]] = []

    async def follow(last: str | None) -> None:
        async for told in ControlClient(tmp_path).events(last):
            heard.append(told)

    async with asyncio.TaskGroup() as tasks:
        async with running(tmp_path) as daemon:
            first = tasks.create_task(follow(None))
            await until(lambda: heard)
            daemon.events.publish("files", folder="ü" * 5_000)
            daemon.events.publish("folder")
            await until(lambda: len(heard) == 3)
            assert [kind for _, kind in heard] == ["hello", "files", "folder"]
            tasks.create_task(follow(heard[1][0]))
            await until(lambda: len(heard) == 5)
            assert [kind for _, kind in heard[3:]] == ["hello", "folder"]
            first.cancel()
            await until(lambda: daemon.events.readers == 1)
    # The daemon's stop has ended the second, or the group would wait for it.
    with pytest.raises(DaemonNotRunning):
        await follow(None)
