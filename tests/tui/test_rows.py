"""The lines of the screen's tables."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peer.status import DeviceEntry, FolderState, NoticeEntry, Status
from tests.peer.fake_daemon import FakeDaemon
from tui.rows import (
    Rates,
    Tone,
    conflict_lines,
    device_lines,
    folder_lines,
    found_lines,
    headline,
    notice_lines,
    question_of,
    relay_lines,
    shortened,
    trouble_lines,
    version_lines,
)


@pytest.fixture
def status() -> Status:
    return asyncio.run(FakeDaemon().status())


def change(status: Status, **changes: Any) -> Status:
    status["folders"][0].update(changes)  # type: ignore[typeddict-item]
    return status


def test_a_device_without_a_name_is_shown_by_its_id() -> None:
    """As after a recovery from the kit: one of these is to be chosen, and removed."""
    lost: DeviceEntry = {
        "id": "1d6a8641" + "0" * 56, "name": "", "this": False, "connected": False,
        "last_seen_s": None,
    }  # fmt: skip
    status: Any = {"links": []}
    (line,) = device_lines(status, [lost])
    assert line.cells[1] == "1d6a8641"


def test_a_folder_says_what_is_left(status: Status) -> None:
    (line,) = folder_lines(status)
    assert line.cells == ("↻", "photos", "syncing, 3 left (1.4 MB)", "10", "5.0 MB", "/data/photos")
    assert line.tone is Tone.BUSY
    (line,) = folder_lines(change(status, paused_files=1))
    assert line.cells[2] == "syncing, 2 left (1.4 MB), 1 file paused by you"
    (line,) = folder_lines(change(status, state="no space", paused_files=0, need_bytes=0))
    assert line.cells[2] == "no space for 3 files"
    (line,) = folder_lines(change(status, state="offered", paused_files=0, path=None))
    assert line.cells[2] == "offered"
    change(status, path="/data/photos")
    paused = change(status, state="partly paused", paused_files=3, need_bytes=0)
    (line,) = folder_lines(paused)
    assert (line.cells[0], line.cells[2]) == ("‖", "partly paused, 3 files paused by you")
    del status["folders"][0]["paused_files"]
    (line,) = folder_lines(change(status, state="in sync", need_files=0, path=None))
    assert line.cells[2:] == ("in sync", "10", "5.0 MB", "not on this device")


@pytest.mark.parametrize("state", list(FolderState))
def test_every_state_has_its_sign(status: Status, state: FolderState) -> None:
    (line,) = folder_lines(change(status, state=state.value))
    assert len(line.cells[0]) == 1
    is_bad = state in (FolderState.NO_DISK, FolderState.NO_SPACE, FolderState.TROUBLE)
    assert (line.tone is Tone.BAD) == is_bad


def test_connected_devices_come_before_those_that_are_away(status: Status) -> None:
    devices = asyncio.run(FakeDaemon().devices())["devices"]
    link = status["links"][0]
    there = {**devices[1], "id": link["device"], "name": "there"}
    away = {
        **devices[1],
        "id": "12" * 32,
        "name": "away",
        "connected": False,
        "last_seen_s": 7200.0,
    }
    new = {**away, "id": "56" * 32, "name": "new", "last_seen_s": None}
    lines = device_lines(status, [new, away, there, devices[0]])  # type: ignore[list-item]
    assert [line.cells[1] for line in lines] == [devices[0]["name"], "there", "away", "new"]
    assert lines[0].cells[2] == "this device"
    assert lines[1].cells[2] == "connected"
    assert link["path"] in lines[1].cells[3]
    assert lines[2].cells[2] == "seen 2 h ago"
    assert lines[3].cells[2] == "never seen"


def test_each_trouble_has_its_reason(status: Status) -> None:
    status["folders"][0]["warnings"] = ["A device has told two histories."]
    problem, warning = trouble_lines(status)
    assert problem.cells == (
        "photos", "a/b", "It is a socket, and sockets are not synced.",
    )  # fmt: skip
    assert warning.tone is Tone.ASKS
    assert warning.cells[2] == "A device has told two histories."


def test_a_relay_says_why_there_is_no_link_to_it() -> None:
    lines = relay_lines(
        [
            {"address": "a", "connected": True, "problem": ""},
            {"address": "b", "connected": False, "problem": "It is gone."},
        ]
    )
    assert [line.cells[2] for line in lines] == ["connected", "It is gone."]


def test_a_version_says_where_it_is() -> None:
    daemon = FakeDaemon()
    now, before = version_lines([daemon.version(0), daemon.version(7)])
    assert (now.cells[0], now.cells[5], now.cells[6]) == ("now", "", "here")
    assert (before.cells[0], before.cells[6]) == ("7", "away")
    assert before.cells[5].endswith(" deleted")


def test_nothing_that_steers_a_terminal_passes(status: Status) -> None:
    evil = "\x1b]52;c;evil\x07[bold]"
    change(status, name=evil, path=evil, question=evil)
    status["folders"][0]["errors"] = [{"path": evil, "reason": evil}]
    daemon = FakeDaemon()
    (found, _) = asyncio.run(daemon.search("x", 1))["found"]
    lines = [
        *folder_lines(status), *trouble_lines(status),
        *relay_lines([{"address": evil, "connected": False, "problem": evil}]),
        *conflict_lines(
            [{**daemon.copies[0], "path": evil, "original": evil, "device": evil, "folder": evil}]
        ),
        *found_lines([{**found, "folder": evil, "path": evil}]),
        *version_lines([{**daemon.version(1), "path": evil, "device": evil}]),
    ]  # fmt: skip
    texts = [text for line in lines for text in (*line.cells, line.detail)]
    texts += [headline(status, Rates()), question_of(status, None)]
    assert all(text.isprintable() for text in texts)
    assert any("evil" in text for text in texts)


def test_the_headline_names_the_worst(status: Status) -> None:
    assert (
        headline(status, Rates()) == "alpha · 0 of 1 in sync, photos: syncing · 1 device connected"
    )
    change(status, state="in sync")
    assert headline(status, Rates()) == "alpha · 1 of 1 in sync · 1 device connected"
    change(status, state="offered")
    assert "nothing on this device yet" in headline(status, Rates())
    status["folders"] = []
    assert "no folders yet" in headline(status, Rates())


def test_the_chosen_folder_s_question_comes_first(status: Status) -> None:
    first = change(status, question="Were they meant?")["folders"][0]
    second = {**first, "id": "99" * 32, "name": "music"}
    status["folders"].append(second)  # type: ignore[arg-type]
    assert question_of(status, None).startswith("photos")
    assert question_of(status, second["id"]).startswith("music")  # type: ignore[arg-type]
    assert question_of({**status, "folders": []}, None) == ""


def test_rates_follow_what_moves() -> None:
    rates = Rates()
    for second in range(5):
        rates.note({"sent_bytes": second * 2_000_000, "received_bytes": 0}, float(second))
    assert 1_500_000 < rates.sent <= 2_000_000
    assert rates.words() == [f"↑ {rates.sent / 1e6:.1f} MB/s"]
    for second in range(5, 30):
        rates.note({"sent_bytes": 8_000_000, "received_bytes": 0}, float(second))
    assert rates.words() == []


def test_a_daemon_that_began_anew_moves_nothing_backwards() -> None:
    rates = Rates()
    rates.note({"sent_bytes": 10**9, "received_bytes": 10**9}, 0.0)
    rates.note({"sent_bytes": 0, "received_bytes": 0}, 1.0)
    rates.note({"sent_bytes": 0, "received_bytes": 0}, 1.0)
    assert (rates.sent, rates.received) == (0, 0)


def test_a_notice_has_a_sign_of_its_urgency() -> None:
    entry: NoticeEntry = {
        "id": 3, "time_s": 1_700_000_000, "priority": "trouble", "kind": "trouble", "folder": "f",
        "text": "In f: \x1b[2J", "count": 1, "read": False, "over": False,
    }  # fmt: skip
    (line,) = notice_lines([entry])
    assert (line.key, line.cells[0], line.tone) == ("3", "!", Tone.BAD)
    assert "\x1b" not in line.cells[2] + line.detail
    (line,) = notice_lines([{**entry, "read": True}])
    assert (line.cells[0], line.tone) == ("·", Tone.QUIET)


def test_a_path_is_shown_from_the_person_s_own_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/data/own")
    assert shortened("/data/own/Documents") == "~/Documents"
    assert shortened("/data/owner/x") == "/data/owner/x"
    monkeypatch.setenv("HOME", "/")
    assert shortened("/data") == "/data"
