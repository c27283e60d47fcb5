import io
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.command_line import terminal
from peer.status import SearchEntry, TransferEntry, VersionList
from tests.peer.fake_daemon import FakeDaemon

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.row("A37")
@given(st.text(st.characters()))
def test_nothing_that_steers_a_terminal_passes(text: str) -> None:
    safe = terminal.term_safe(text)
    assert not UNSAFE.search(safe)
    safe.encode()
    assert terminal.term_safe(safe) == safe


@given(st.text("az09 ~äß€—中日é"))
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert terminal.term_safe(text) == text


@pytest.mark.parametrize(
    "character", ["\x00", "\x7f", "\x9b", "\u200f", "\u202e", "\u2028", "\udcff"]
)
def test_each_kind_is_escaped(character: str) -> None:
    assert terminal.term_safe(f"a{character}b").isascii()
    assert character not in terminal.term_safe(f"a{character}b")


def test_escapes_are_shown() -> None:
    assert terminal.term_safe("a\x1b[2J\nb") == "a\\x1b[2J\\nb"


def test_of_a_file_that_is_as_it_came_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    daemon = FakeDaemon()
    found: VersionList = {"path": "/a", "root": "/", "versions": [daemon.version(0)]}
    terminal.print_versions(found)
    assert terminal.NO_EARLIER in capsys.readouterr().out
    found["versions"].append(daemon.version(7))
    terminal.print_versions(found)
    assert terminal.NO_EARLIER not in capsys.readouterr().out


def test_one_file_needs_no_column_of_paths_and_gaps_in_its_numbers_are_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    daemon = FakeDaemon()
    found: VersionList = {
        "path": "/a", "root": "/", "versions": [daemon.version(n) for n in (0, 8, 7)],
    }  # fmt: skip
    terminal.print_versions(found)
    shown = capsys.readouterr().out
    assert "path" not in shown
    assert terminal.NUMBERS_LACK not in shown
    found["versions"].append(daemon.version(5))
    found["versions"][-1]["path"] = "a/older"
    terminal.print_versions(found)
    shown = capsys.readouterr().out
    assert "a/older" in shown
    assert terminal.NUMBERS_LACK in shown
    terminal.print_versions(found, is_deleted=True)
    assert terminal.NUMBERS_LACK not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("widths", "width", "whole"),
    [
        ([9, 60, 16], 100, {0, 1, 2}),
        ([9, 60, 16], 80, {0, 2}),  # the path goes on in the next line, and no date does
        ([30, 30, 30], 80, {0}),
        ([8, 30, 8, 9, 16, 7], 80, {0, 2, 3, 4, 5}),  # what is narrow needs no room to be broken
        ([], 80, set()),
        ([70, 70], 80, set()),
    ],
)
def test_what_is_narrow_is_not_broken(widths: list[int], width: int, whole: set[int]) -> None:
    assert terminal.whole_columns(widths, width) == whole


@pytest.mark.parametrize(("columns", "lines"), [("40", 3), ("200", 1)])
def test_on_a_terminal_a_line_goes_on_between_words(
    columns: str, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    address = "holdfast-relay://relay.example.org:443#" + "f" * 52
    line = f"    Give it to people: {address}, as you would give a key."
    at_terminal, by_pipe = io.StringIO(), io.StringIO()
    at_terminal.isatty = lambda: True  # type: ignore[method-assign]
    shown = terminal.wrapped(line, at_terminal).splitlines()
    assert len(shown) == lines
    assert all(one.startswith("    ") for one in shown)
    assert any(address in one for one in shown)
    assert terminal.wrapped(line, by_pipe) == line


def test_a_search_is_a_line_each_and_one_for_what_is_in_the_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory: SearchEntry = {
        "folder": "f", "path": "d", "place": "/f/d", "directory": True, "size": 0,
        "modified_s": None,
    }  # fmt: skip
    file: SearchEntry = {
        "folder": "f", "path": "d/a b", "place": "/f/d/a b", "directory": False, "size": 1400,
        "modified_s": None, "snippet": "[bold]of\nit",
    }  # fmt: skip
    terminal.print_found({"query": "x", "found": [directory, file], "more": False})
    assert capsys.readouterr().out.splitlines() == [
        "f/d/  (-)", "f/d/a b  (1.4 kB, -)", "    [bold]of\\nit",
    ]  # fmt: skip


async def test_of_an_offered_folder_nothing_is_left_to_do() -> None:
    (folder, *_) = (await FakeDaemon().status())["folders"]
    folder["state"], folder["path"], folder["need_files"] = "offered", None, 35
    folder["paused_files"] = 0
    assert terminal._describe_folder(folder) == "offered"


@pytest.mark.parametrize(
    ("state", "need_bytes", "told"),
    [
        ("syncing", 1_400_000, "syncing (1 file, 1.4 MB left)"),
        ("syncing", 0, "syncing (1 file left)"),
        ("no space", 0, "no space for 1 file"),
    ],
)
async def test_what_a_folder_needs(state: str, need_bytes: int, told: str) -> None:
    (folder, *_) = (await FakeDaemon().status())["folders"]
    folder["state"], folder["need_files"], folder["need_bytes"] = state, 1, need_bytes
    folder["paused_files"] = 0
    assert folder["path"]
    assert terminal._describe_folder(folder) == told


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_400_000, "1.4 MB"), (3e15, "3000.0 TB")],
)
def test_sizes(size_bytes: float, text: str) -> None:
    assert terminal.format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("time_s", "text"),
    [(0.031, "31 ms"), (4.24, "4.2 s"), (600, "10 min"), (7300, "2 h"), (864_000, "10 days")],
)
def test_times(time_s: float, text: str) -> None:
    assert terminal.format_time(time_s) == text


@pytest.mark.row("A37")
def test_a_table_takes_cells_literally(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(("name",), [("[bold]x[/bold]\x1b]52;c;aGk=\x07",), ("y" * 200,)])
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]\\x1b]52;c;aGk=\\x07" in shown
    assert "y" * 200 in shown
    assert "\x1b" not in shown


@pytest.mark.row("A37")
def test_what_waits_for_a_person_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_open(0, 0)
    assert not capsys.readouterr().out
    terminal.print_open(1, 1_200)
    assert capsys.readouterr().out.splitlines() == [
        "1 conflict: `holdfast conflicts`.",
        "1,200 unread notices: `holdfast notifications`.",
    ]


async def test_a_status_prints_what_others_named_without_obeying_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder, a path, a device and a warning that others have named, in every place of it."""
    daemon = FakeDaemon()
    evil = "x\x1b]52;c;aGk=\x07\x9b2J\r\n\u202e"
    daemon.errors = [{"path": evil, "reason": evil}]
    status = await daemon.status()
    status["device"]["name"] = evil
    status["folders"][0] |= {
        "name": evil, "path": evil, "question": evil, "warnings": ["Look after it.", evil],
    }  # fmt: skip
    status["links"][0] |= {"name": evil, "address": evil}
    paused: TransferEntry = {
        "folder": evil, "folder_id": "", "path": evil, "size": 2, "done_bytes": 1, "paused": True,
    }  # fmt: skip
    terminal.print_status(status, [paused])
    shown = capsys.readouterr().out
    assert "Paused by you; 1 B of 2 B are here." in shown
    assert "Look after it." in shown
    assert not UNSAFE.search(shown.replace("\n", ""))


async def test_of_many_files_with_one_reason_the_first_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    daemon = FakeDaemon()
    daemon.errors = [{"path": f"f{n}", "reason": "It waits."} for n in range(13)]
    daemon.errors.insert(12, {"path": "g", "reason": "It is a socket."})
    terminal.print_status(await daemon.status())
    shown = capsys.readouterr().out
    assert shown.count("It waits.") == terminal.SAME_REASON_SHOWN
    assert "/g: It is a socket." in shown
    assert shown.count("The same is true of 3 files more; ") == 1


async def test_a_link_shows_how_fast_it_is_while_something_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = await FakeDaemon().status()
    status["links"][0] |= {"sent_bytes": 2_000_000, "sent_bytes_s": 1.5e6, "received_bytes_s": 9.0}
    terminal.print_status(status)
    shown = capsys.readouterr().out
    assert "2.0 MB, 1.5 MB/s" in shown
    assert shown.count("/s") == 1


def test_an_error_is_one_safe_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_error("No folder \x1b[1m.\nDone")
    assert capsys.readouterr().err == "holdfast: No folder \\x1b[1m.\\nDone\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12_000, "12,000 files")]
)
def test_files_are_counted_in_words(count: int, text: str) -> None:
    assert terminal.count_files(count) == text


def test_a_conflict_copy_is_shown_whole_and_as_a_shell_takes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    place = "/data/photos/summer/it's (conflict laptop 2026-03-01 1412).txt"
    terminal.print_conflicts(
        {
            "conflicts": [
                {
                    "folder": "photos", "path": place[13:], "place": place, "original": "it's.txt",
                    "device": "", "written_s": 10**9, "size": 1_400,
                }
            ]
        }
    )  # fmt: skip
    first, second, _ = capsys.readouterr().out.splitlines()
    assert shlex.split(first) == [place]
    assert second == "    1.4 kB, written 2001-09-09 01:46, in photos"
