import argparse
import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peer.command_line.cli import INTERRUPTED, main, make_parser
from peer.errors import DaemonNotRunning, NoDevice, PeerError, UnknownFolder, UsageError
from protocol.errors import WrongCode
from tests.peer.fake_daemon import FOLDER_ID, running


async def command(*words: str) -> int:
    return await asyncio.to_thread(main, words)


async def test_json_is_what_the_daemon_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        assert await command("--home", str(tmp_path), "status", "--json") == 0
        assert json.loads(capsys.readouterr().out) == await daemon.status()


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "--home", "HOME", "folder", "list"),
        ("--home", "HOME", "folder", "--json", "list"),
        ("folder", "list", "--home", "HOME", "--json"),
    ],
)
async def test_options_of_every_command_stand_anywhere(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path):
        assert await command(*(str(tmp_path) if word == "HOME" else word for word in words)) == 0
    assert json.loads(capsys.readouterr().out)["folders"][0]["id"] == FOLDER_ID


async def test_the_home_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))
    async with running(tmp_path):
        assert await command("devices", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["devices"]) == 2


async def test_an_error_is_a_sentence_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        daemon.failure = UnknownFolder("There is no folder called x.")
        assert await command("--home", str(tmp_path), "folder", "remove", "x") == 20
        plain = capsys.readouterr()
        assert await command("--home", str(tmp_path), "folder", "remove", "x", "--json") == 20
        structured = capsys.readouterr()
    assert plain.out == ""
    assert plain.err == "holdfast: There is no folder called x.\n"
    assert json.loads(structured.err) == {
        "type": "about:blank", "title": UnknownFolder.sentence(), "code": "unknown_folder",
        "detail": "There is no folder called x.", "exit_code": 20,
    }  # fmt: skip
    assert json.loads(structured.out) == {
        "error": {"code": "unknown_folder", "message": "There is no folder called x."}
    }


def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(tmp_path), "status"]) == NoDevice.exit_code
    (tmp_path / "key").touch()
    assert main(["--home", str(tmp_path), "status"]) == DaemonNotRunning.exit_code
    assert "Start it with `holdfast run`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("sttaus",),
        ("init",),
        ("init", "--name", ""),
        ("init", "--name", "a/b"),
        ("join", "7-a-b", "--name", "a\nb"),
        ("folder",),
        ("status", "--jsn"),
        ("run", "--listen", "nowhere"),
        ("run", "--listen", "::1:80"),
        ("run", "--listen", "[::1]:99999"),
        ("run", "--links", "tcp"),
        ("run", "--links", "tls,tls"),
        ("answer", "photos", "maybe"),
    ],
)
def test_a_misunderstood_command(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == UsageError.exit_code
    assert re.fullmatch(
        r"holdfast: [A-Z].* --help` shows how it is used\.\n", capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("listen", "links", "expected"),
    [
        ("127.0.0.1:0", "quic", (("127.0.0.1", 0), ("quic",))),
        ("[::1]:22330", "quic,tls", (("::1", 22330), ("quic", "tls"))),
        ("laptop.local:1", "tls", (("laptop.local", 1), ("tls",))),
    ],
)
def test_addresses_and_links(listen: str, links: str, expected: Any) -> None:
    arguments = make_parser().parse_args(["run", "--listen", listen, "--links", links])
    assert (arguments.listen, arguments.links) == expected


@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (WrongCode(), 10, "The code is not the one"),
        (PermissionError(13, "Permission denied", "/x/key"), 1, "/x/key: Permission denied."),
        (ZeroDivisionError("by zero"), 1, "Holdfast has a defect: ZeroDivisionError: by zero."),
        (KeyError("device"), 1, "of an earlier version: it lacks 'device'. Start the daemon anew"),
        (sqlite3.OperationalError("disk I/O error"), 1, "cannot be used: disk I/O error. Look"),
        (ExceptionGroup("", [ExceptionGroup("", [NoDevice()])]), 3, "There is no device"),
        (ExceptionGroup("two", [NoDevice(), NoDevice()]), 1, "Holdfast has a defect"),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_the_door(
    error: BaseException,
    exit_code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(arguments: argparse.Namespace) -> Any:
        raise error

    monkeypatch.setattr("peer.command_line.acts.status", fail)
    assert main(["status"]) == exit_code
    shown = capfd.readouterr().err
    assert sentence in shown
    assert "Traceback" not in shown


def test_verbose_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> Any:
        raise PeerError("A sentence.")

    monkeypatch.setattr("peer.command_line.acts.status", fail)
    assert main(["status", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_what_ends_a_daemon_is_in_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be run again to see where, as a command can."""
    errors: list[Exception] = [ZeroDivisionError("by zero"), NoDevice()]

    def fail(arguments: argparse.Namespace) -> Any:
        raise errors.pop(0)

    monkeypatch.setattr("peer.command_line.acts.run", fail)
    assert (main(["run"]), "in fail" in capsys.readouterr().err) == (1, True)
    assert (main(["run"]), "in fail" in capsys.readouterr().err) == (3, False)


def test_nothing_slow_is_imported_before_it_is_needed() -> None:
    """What takes 0.1 s to import each; measured by name, so that the test cannot hope."""
    slow = (
        "asyncio",
        "logging",
        "importlib.metadata",
        "rich",
        "starlette",
        "uvicorn",
        "cryptography",
        "nacl",
        "aioquic",
        "sqlite3",
    )
    program = (
        "import sys, peer.command_line.cli; peer.command_line.cli.make_parser(); "
        f"print([module for module in {slow} if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"holdfast,? (\d+\.\d+\.\d+|not installed)\n", capsys.readouterr().out)


def test_python_m_peer_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "peer", "--home", str(tmp_path), "status"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == NoDevice.exit_code
    assert done.stderr.startswith("holdfast: There is no device")
