import asyncio
import io
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peer.command_line import acts, terminal
from peer.command_line.cli import main
from peer.command_line.passphrase import PASSPHRASE_FILE_VARIABLE, PASSPHRASE_VARIABLE
from peer.command_line.relay_token import TOKEN_VARIABLE
from peer.errors import DaemonNotRunning, KeyFileUnusable, TroubleFound, UsageError
from protocol.relay_address import RelayAddress
from protocol.relay_token import format_token
from tests.peer.fake_daemon import RELAY, running


async def command(home: Path, *words: str) -> int:
    return await asyncio.to_thread(main, ["--home", str(home), *words])


async def test_each_command_asks_the_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN_VARIABLE, format_token(bytes(16)))
    async with running(tmp_path) as daemon:
        for words in (
            "folder add pictures --name photos",
            "folder attach photos pictures",
            "folder remove photos",
            "devices remove lost",
            f"relay add {str(RELAY).upper().replace('HOLDFAST-RELAY', 'holdfast-relay')}",
            f"relay add {RELAY} --token",
            "relay remove relay.example",
            "pause",
            "pause photos",
            "pause --file a/b",
            "resume",
            "resume --file a/b",
            "answer photos accept",
            "answer photos restore",
            "conflicts",
            "resolve note original",
            "resolve note copy",
            "resolve note both",
            "search holiday type:image --limit 3",
            "versions note",
            "versions . --deleted",
            "restore-folder . --at 2001-02-03T04:05:06+00:00 --dry-run",
            "stop",
        ):
            assert await command(tmp_path, *words.split()) == 0
        assert daemon.calls == [
            ("add_folder", tmp_path / "pictures", "photos"),
            ("attach_folder", "photos", tmp_path / "pictures"),
            ("remove_folder", "photos"),
            ("remove_device", "lost"),
            ("list_relays",),
            ("add_relay", replace(RELAY, host="RELAY.EXAMPLE")),
            ("list_relays",),
            ("add_relay", RELAY, bytes(16)),
            ("remove_relay", "relay.example"),
            ("pause", None),
            ("pause", "photos"),
            ("pause_transfer", tmp_path / "a" / "b"),
            ("resume", None),
            ("resume_transfer", tmp_path / "a" / "b"),
            ("answer_hold", "photos", "accept"),
            ("answer_hold", "photos", "restore"),
            ("conflicts",),
            ("resolve", tmp_path / "note", "original"),
            ("resolve", tmp_path / "note", "copy"),
            ("resolve", tmp_path / "note", "both"),
            ("search", "holiday type:image", 3),
            ("versions", tmp_path / "note"),
            ("deleted", tmp_path),
            ("restore_folder", tmp_path, 981_173_106, True),
            ("stop",),
        ]
    assert capsys.readouterr().err == ""


async def test_what_a_person_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path):
        for words in ("status", "folder list", "devices", "invite", "relay list"):
            assert await command(tmp_path, *words.split()) == 0
    shown = capsys.readouterr().out
    assert "syncing (3 files, 1.4 MB left)" in shown
    assert "photos/a/b: It is a socket" in shown
    assert "beta\\x1b[2J" in shown
    assert "\x1b" not in shown
    assert "seen 2 h ago" in shown
    assert "holdfast join 7-crossover-clockwork --name NAME" in shown
    assert f"--relay {RELAY}`" in shown
    assert "It is\\x1b gone." in shown


async def test_what_a_person_sees_of_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(tmp_path) as daemon:
        assert await command(tmp_path, "versions", "note") == 0
        shown = capsys.readouterr().out
        assert "2001-09-09" in shown
        assert "deleted" in shown
        assert "deleted, not here" in shown
        assert terminal.NOT_HERE in shown
        assert await command(tmp_path, "versions", "note", "--deleted") == 0
        assert "Nothing that was deleted is kept" in capsys.readouterr().out
        assert await command(tmp_path, "restore-folder", ".", "--at", "3d", "--dry-run") == 0
        assert "2 files would be brought back" in capsys.readouterr().out
        assert await command(tmp_path, "restore-folder", ".", "--at", "2w") == 0
        assert "Brought back 2 files." in capsys.readouterr().out
        assert await command(tmp_path, "restore", "note", "--version", "7") == 42
        assert "a/b: It is a socket" in capsys.readouterr().out
        daemon.errors = []
        assert await command(tmp_path, "restore", "note", "--to", "out") == 0
        assert f"Brought back {tmp_path / 'out'}." in capsys.readouterr().out
        assert await command(tmp_path, "restore", "note", "--at", "yesterday") == 2
        assert "'2026-01-31 14:00', 6h or 3d" in capsys.readouterr().err


async def test_what_a_person_sees_of_conflicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        assert await command(tmp_path, "conflicts") == 0
        shown = capsys.readouterr().out
        assert "/data/photos/a" in shown.splitlines(), "it is typed after `resolve`"
        assert "1.4 kB, written 2001-09-09 01:46 by be\\x1bta, in photos" in shown
        assert "holdfast resolve" in shown
        for choice, told in (("original", "restore"), ("copy", "versions"), ("both", "")):
            assert await command(tmp_path, "resolve", "note", choice) == 0
            assert f"`holdfast {told}" in (shown := capsys.readouterr().out) or not told
            assert told or "`" not in shown, "where nothing went, nothing can be brought back"
        daemon.copies = []
        assert await command(tmp_path, "conflicts") == 0
        assert "no conflicts" in capsys.readouterr().out


async def test_a_relay_that_is_known_is_not_news(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        assert await command(tmp_path, "relay", "list") == 0
        assert str(RELAY) in capsys.readouterr().out.splitlines()
        assert await command(tmp_path, "relay", "add", str(RELAY)) == 0
        assert "already" in capsys.readouterr().out
        other = replace(RELAY, port=RELAY.port + 1)
        assert await command(tmp_path, "relay", "add", str(other)) == 0
        assert "from now on" in capsys.readouterr().out
        assert daemon.calls[-1][0] == "add_relay"


async def test_who_stops_what_does_not_run_is_not_told_to_start_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").touch(mode=0o600)
    assert await command(tmp_path, "stop") == DaemonNotRunning.exit_code
    assert capsys.readouterr().err == "holdfast: The daemon is not running.\n"


async def test_what_a_person_sees_of_a_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path):
        assert await command(tmp_path, "search", "note") == 0
        shown = capsys.readouterr().out
        assert "a/no\\x1bte" in shown
        assert "a/  (" in shown
        assert "1.4 kB" in shown
        assert "There is more" in shown
        assert await command(tmp_path, "search", "none") == 0
        assert "Nothing" in capsys.readouterr().out
        for limit in ("0", "1001", "many", "99999999999"):
            assert await command(tmp_path, "search", "x", "--limit", limit) == 2


class Setup(ModuleType):
    """Stands for setup: notes what it is given."""

    def __init__(self) -> None:
        super().__init__("peer.device.setup")
        self.calls: list[tuple[Any, ...]] = []
        self.relay: RelayAddress | None = None

    async def init_home(self, home: Path, name: str, passphrase: str | None) -> dict[str, Any]:
        self.calls.append(("init", home, name, passphrase))
        return {"device": "cd" * 32, "recovery_kit": "AAAA-BBBB"}

    async def join(self, *given: Any, relay: RelayAddress | None) -> dict[str, Any]:
        self.relay = relay
        self.calls.append(("join", *given))
        return {"device": "cd" * 32}


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    setup = Setup()
    monkeypatch.setitem(sys.modules, "peer.device.setup", setup)
    monkeypatch.setattr("peer.device.setup", setup, raising=False)
    return setup


def test_init_shows_the_recovery_kit_once(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(tmp_path), "init", "--name", "alpha"]) == 0
    assert setup.calls == [("init", tmp_path, "alpha", None)]
    assert "    AAAA-BBBB\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["init"], ["join", "7-a-b"]])
def test_a_key_file_may_be_locked_from_the_start(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "secret").write_text("correct horse\n")
    monkeypatch.setenv(PASSPHRASE_FILE_VARIABLE, str(tmp_path / "secret"))
    assert main(["--home", str(tmp_path), *words, "--name", "alpha", "--passphrase"]) == 0
    assert setup.calls[0][-1] == "correct horse"
    monkeypatch.delenv(PASSPHRASE_FILE_VARIABLE)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "")  # an empty one is none
    error = KeyFileUnusable.exit_code
    assert main(["--home", str(tmp_path), *words, "--name", "alpha", "--passphrase"]) == error
    assert len(setup.calls) == 1


def test_join_at_a_relay(tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--home", str(tmp_path), "join", "7-a-b", "--name", "alpha", "--relay"]
    assert main([*words, str(RELAY)]) == 0
    assert setup.relay == RELAY
    assert main([*words, f"{RELAY}x"]) == main([*words, str(RELAY), "--address", "h:1"]) == 2
    said = capsys.readouterr().err
    assert "holdfast-relay://HOST:PORT#FINGERPRINT" in said
    assert "either --address or --relay" in said


def test_a_relay_is_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []

    def execv(_: str, words: list[str]) -> None:
        became.append(words)
        raise KeyboardInterrupt  # a program that became another says no more

    monkeypatch.setattr(os, "execv", execv)
    main(["--home", str(tmp_path), "relay", "run", "--listen", "[::1]:443", "--json"])
    assert became[0][1:4] == ["-P", "-m", "relay"]
    home = ["--home", str(tmp_path)]
    assert became[0][4:] == ["run", *home, "--host", "::1", "--port", "443", "--json"]
    for given, words in (
        ("run --listen h:1 --config c.toml", "run {} --host h --port 1 --config c.toml"),
        ("config", "config {}"),
        ("invite", "invite {}"),
        ("invite --devices 3 --days 2", "invite {} --devices 3 --days 2"),
        ("invitations --verbose", "invitations {} --verbose"),
        ("withdraw abc", "withdraw {} abc"),
    ):
        main([*home, "relay", *given.split()])
        assert " ".join(became[-1][4:]) == words.format(" ".join(home))


def test_join_with_everything_given(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["join", "7-a-b", "--address", "127.0.0.1:25000", "--name", "beta", "--json"]
    assert main(["--home", str(tmp_path), *words]) == 0
    assert setup.calls == [("join", tmp_path, "7-a-b", ("127.0.0.1", 25000), "beta", None)]
    assert json.loads(capsys.readouterr().out) == {"device": "cd" * 32}


def test_join_asks_for_the_code(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("7-a-b\n"))
    assert main(["--home", str(tmp_path), "join", "--name", "beta"]) == 0
    assert setup.calls == [("join", tmp_path, "7-a-b", None, "beta", None)]


class Daemon(ModuleType):
    """Stands for peer.daemon: runs until it is cancelled, and cleans up."""

    def __init__(self, signal_number: int | None) -> None:
        super().__init__("peer.daemon")
        self.calls: list[tuple[Any, ...]] = []
        self._signal_number = signal_number

    async def run(self, *given: Any) -> None:
        self.calls.append(given)
        if self._signal_number is None:
            return
        try:
            os.kill(os.getpid(), self._signal_number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.calls.append(("cleaned up",))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_cleanly_when_told(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(number)
    monkeypatch.setitem(sys.modules, "peer.daemon", daemon)
    monkeypatch.setattr("peer.daemon", daemon, raising=False)
    monkeypatch.setattr("peer.log_format.configure_logging", lambda is_verbose, also: None)
    words = ["run", "--listen", "[::1]:0", "--no-discovery", "--links", "quic"]
    assert main(["--home", str(tmp_path), *words]) == 0
    assert daemon.calls == [(tmp_path, ("::1", 0), False, ("quic",)), ("cleaned up",)]


async def test_a_cancellation_that_nobody_asked_for_is_passed_on() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await acts.until_stopped(work())


def test_run_leaves_to_the_configuration_what_is_not_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(None)
    monkeypatch.setitem(sys.modules, "peer.daemon", daemon)
    monkeypatch.setattr("peer.daemon", daemon, raising=False)
    monkeypatch.setattr("peer.log_format.configure_logging", lambda is_verbose, also: None)
    assert main(["--home", str(tmp_path), "run"]) == 0
    assert daemon.calls == [(tmp_path, None, None, None)]


def test_the_doctor_fails_when_it_finds_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    assert main(["--home", str(home), "doctor", "--json"]) == TroubleFound.exit_code
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert not checks["home"]["is_well"]
    assert main(["--home", str(home), "doctor"]) == TroubleFound.exit_code
    assert f"chmod go= {home}" in capsys.readouterr().out


async def test_a_folder_and_a_file_are_not_paused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        for word in ("pause", "resume"):
            assert await command(tmp_path, word, "photos", "--file", "a") == UsageError.exit_code
        assert daemon.calls == []
    assert "either a folder or --file" in capsys.readouterr().err


async def test_status_names_the_files_that_wait_by_the_persons_will(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        assert await command(tmp_path, "status") == 0
        assert "aused by you" not in capsys.readouterr().out
        assert daemon.transfers.asked == 0
        await daemon.transfers.pause(Path("/data/photos/a/la\x1brge"))
        assert await command(tmp_path, "status") == 0
    told = capsys.readouterr().out
    assert "2 files, 350.0 kB left; 1 file paused by you" in told
    assert "1 unread notice: `holdfast notifications`." in told.splitlines()
    assert "photos/a/la\\x1brge: Paused by you; 350.0 kB of 1.4 MB are here." in told
