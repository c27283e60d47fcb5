"""A desktop that writes down what it is told to show, on a session bus of its own: the real
daemon of D-Bus, and the library's way to it.
"""

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import pytest
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.annotations import DBusInt32, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method, dbus_signal

from peer.command_line import doctor
from peer.journal import desktop, notice_outlets
from peer.journal.desktop import Desktop, DesktopFailed
from peer.journal.notice_outlets import open_outlets
from peer.journal.notices import Notice, NoticeBoard
from tests.peer.device_stage import until

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
CONFIGURATION = """\
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
</policy></busconfig>
"""
Words = Annotated[list[str], DBusSignature("as")]
Hints = Annotated[dict[str, Any], DBusSignature("a{sv}")]
Server = Annotated[tuple[str, str, str, str], DBusSignature("ssss")]


class Screen(ServiceInterface):
    """What a desktop answers to `org.freedesktop.Notifications`."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.told: list[tuple[str, str, int]] = []
        """Title, text and urgency, as they came."""
        self.shown: dict[int, str] = {}
        self.answers = asyncio.Event()
        self.answers.set()

    @dbus_method()
    async def Notify(
        self, app_name: DBusStr, replaces_id: DBusUInt32, app_icon: DBusStr, summary: DBusStr,
        body: DBusStr, actions: Words, hints: Hints, expire_timeout: DBusInt32,
    ) -> DBusUInt32:  # fmt: skip
        await self.answers.wait()
        self.told.append((summary, body, hints["urgency"].value))
        self.shown[len(self.told)] = body
        return len(self.told)

    @dbus_method()
    def CloseNotification(self, id: DBusUInt32) -> None:
        self.shown.pop(id)
        self.NotificationClosed(id, 3)

    @dbus_method()
    def GetCapabilities(self) -> Words:
        return ["body", "body-markup", "body-hyperlinks", "body-images"]

    @dbus_method()
    def GetServerInformation(self) -> Server:
        return "screen", "tests", "1", "1.2"

    @dbus_signal()
    def NotificationClosed(
        self, id: int, reason: int
    ) -> Annotated[tuple[int, int], DBusSignature("uu")]:
        return id, reason


@asynccontextmanager
async def session_bus(directory: Path) -> AsyncIterator[Path]:
    """A bus that lives as long as this; the environment's session is on it."""
    path = directory / "bus"
    configuration = directory / "bus.conf"
    configuration.write_text(CONFIGURATION.format(path=path))
    process = await asyncio.create_subprocess_exec(
        "dbus-daemon", f"--config-file={configuration}", "--nofork", "--print-address",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await process.stdout.readline()
        yield path
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def screen(path: Path) -> AsyncIterator[Screen]:
    there = Screen()
    bus = await MessageBus(f"unix:path={path}").connect()
    bus.export(PATH, there)
    await bus.request_name(NAME)
    try:
        yield there
    finally:
        bus.disconnect()


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    monkeypatch.setattr(notice_outlets, "RETRY_WAITS_S", (0.0, 0.0))
    return tmp_path


@asynccontextmanager
async def opened(device: str = "laptop") -> AsyncIterator[Desktop]:
    there = Desktop(device)
    try:
        yield there
    finally:
        there.close()


def notice(number: int, kind: str = "joined", about: str = "phone") -> Notice:
    return Notice(number, 1, 1, kind, "photos", about)


async def test_a_notice_is_shown_with_its_weight_and_nothing_in_it_is_markup(session: Path) -> None:
    hostile = (
        '<a href="https://example.org">x</a><img src="file:///etc/x"> R&D &#60;b&#62; \x1b[2J\n'
    )
    async with session_bus(session) as path, screen(path) as there, opened("lap<b>top") as desktop_:
        await desktop_.show(notice(1, "trouble", hostile))
        await desktop_.show(notice(2, "asking"))
        await desktop_.show(notice(3, "joined"))
    assert [urgency for _, _, urgency in there.told] == [2, 1, 0]
    assert there.told[2][1] == notice(3).text
    for title, text, _ in there.told:
        assert not set("<>&\n\x1b") & set(title + text)
    assert "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}img src=" in there.told[0][1]
    assert "R\N{FULLWIDTH AMPERSAND}D" in there.told[0][1]
    assert "Holdfast on lap" in there.told[0][0]


async def test_a_flood_is_one_bubble_that_counts(session: Path) -> None:
    """The board's batches reach the desktop as they reach the others."""
    board = NoticeBoard()
    async with session_bus(session) as path, screen(path) as there, asyncio.TaskGroup() as tasks:
        (outlet,) = open_outlets((), "", "laptop", desktop=True)
        worker = tasks.create_task(outlet.run())
        for second in range(300):
            board.tell("conflict", 1_000 + second, "photos", f"{second}.jpg")
            for due in board.take_due(1_000 + second):
                outlet.put(due)
            await asyncio.sleep(0)
        for due in board.take_due(1_400):
            outlet.put(due)
        await until(lambda: ["of 300 files" in text for text in there.shown.values()] == [True])
        worker.cancel()
    assert len(there.told) <= 7  # what grows is told of once a minute


async def test_few_bubbles_stand_at_once(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desktop, "SHOWN_MAX", 3)
    async with session_bus(session) as path, screen(path) as there, opened() as desktop_:
        for number in range(1, 6):
            await desktop_.show(notice(number, about=f"phone {number}"))
        there.shown.pop(4)
        there.NotificationClosed(4, 2)  # by the person
        await desktop_.show(notice(4, about="again"))
        assert [text for text in there.shown.values() if "again" in text]
        assert len(there.shown) == 3


async def test_a_session_that_ends_and_begins_anew_is_found(
    session: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as desktop_:
        async with session_bus(session) as path, screen(path) as there:
            await desktop_.show(notice(1))
        for _ in range(3):
            with pytest.raises(DesktopFailed, match=r"does not take it: .*(No such file|refused)"):
                await desktop_.show(notice(2))
        (session / "bus").unlink(missing_ok=True)
        async with session_bus(session) as path, screen(path) as there:
            await desktop_.show(notice(2))
            assert len(there.told) == 1
    assert "Traceback" not in caplog.text


async def test_a_desktop_without_a_place_for_notices_and_one_that_hangs(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    async with session_bus(session) as path:
        async with opened() as desktop_:
            for _ in range(20):
                with pytest.raises(DesktopFailed, match=r"not take it: .*Notifications"):
                    await desktop_.show(notice(1))
        async with screen(path) as there, opened() as desktop_:
            await desktop_.show(notice(1))
            there.answers.clear()
            monkeypatch.setattr(desktop, "TIMEOUT_S", 0.5)
            with pytest.raises(DesktopFailed, match="did not answer"):
                await desktop_.show(notice(2))
            there.answers.set()
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 2)


async def test_without_a_session_it_is_said_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.delenv("DISPLAY", raising=False)
    async with asyncio.TaskGroup() as tasks:
        (outlet,) = open_outlets((), "", "laptop", desktop=True)
        assert "nothing will be shown: there is no session bus" in caplog.text
        worker = tasks.create_task(outlet.run())
        for number in (1, 2):
            outlet.put(notice(number))
        await until(lambda: "notice 2 is given up: there is no session bus" in caplog.text)
        assert not worker.done()
        worker.cancel()


async def test_without_the_extra_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    open_outlets((), "", "laptop", desktop=True)
    assert ".[desktop]" in caplog.text
    with pytest.raises(DesktopFailed, match="not installed"):
        await Desktop("").look()


async def test_the_doctor_looks_only_if_it_is_wanted(session: Path) -> None:
    home = session / "home"
    home.mkdir()
    assert doctor.check_desktop(home).is_well
    (home / "config.toml").write_text("[notifications]\ndesktop = true\n")
    check = await asyncio.to_thread(doctor.check_desktop, home)
    assert not check.is_well
    assert check.cure is not None
    assert "notifications.desktop false" in check.cure
    async with session_bus(session) as path, screen(path) as there:
        assert (await asyncio.to_thread(doctor.check_desktop, home)).is_well
    assert there.told == []
