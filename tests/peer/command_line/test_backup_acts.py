"""The commands about copies and the kit, as they are typed, and what a person is shown."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from peer.backup import recovery
from peer.command_line import backup_acts
from peer.command_line.backup_acts import print_backups
from peer.command_line.cli import main
from peer.command_line.kit_input import KIT_VARIABLE
from peer.status import BackupEntry
from protocol.kit import encode_kit
from tests.peer.fake_daemon import BACKUP, RELAY, running

KIT = encode_kit(bytes(range(32)))


async def command(home: Path, *words: str) -> int:
    return await asyncio.to_thread(main, ["--home", str(home), *words])


async def test_each_command_asks_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KIT_VARIABLE, KIT.lower())
    other = str(RELAY).replace("relay.example", "other.example")
    sheet = tmp_path / "kit.pdf"
    sheet.touch(mode=0o644)
    async with running(tmp_path) as daemon:
        for words in (
            f"backup add photos --nodes {RELAY},{other} --scheme 1/2",
            f"backup add photos --nodes {RELAY},{other}",
            "backup remove photos",
            "backup repair photos",
            "kit print",
            f"kit print --out {sheet}",
        ):
            assert await command(tmp_path, *words.split()) == 0
        nodes = [str(node) for node in daemon.calls[0][2]]
        assert nodes == [str(RELAY), other]
        assert [call[0] for call in daemon.calls] == [
            "add_backup", "add_backup", "remove_backup", "repair_backup", "show_kit", "show_kit",
        ]  # fmt: skip
        assert daemon.calls[0][3:] == daemon.calls[1][3:] == (1, 2)
        assert daemon.calls[4] == ("show_kit", KIT)
        shown = capsys.readouterr().out
        assert KIT.split()[0] in shown
        assert "Only 2 owners" in shown
        assert "3 shares of photos were made again" in shown
        assert f"Could not be reached: {RELAY}" in shown
        assert sheet.read_bytes().startswith(b"%PDF")
        assert sheet.stat().st_mode & 0o077 == 0


async def test_the_status_says_what_endangers_the_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path):
        assert await command(tmp_path, "backup", "status") == 0
        shown = capsys.readouterr().out
        for said in ("4/7", "at risk", "1 degraded", "16.8 MB", "Nobody answers.", "2 h ago"):
            assert said in shown, said
        for said in ("owner: me 9", "with 1e-07 (7 nines), if:", "- Nothing burns.", "lost them"):
            assert said in shown, said
        assert "4 shares were made again, the last one" in shown
        assert "\x1b" not in shown
        assert await command(tmp_path, "backup", "status", "--json") == 0
        (entry,) = json.loads(capsys.readouterr().out)["backups"]
        assert entry["unverified_s"] == 7200


@pytest.mark.row("F38")
def test_what_samples_came_to_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = int(time.time())
    sampled: BackupEntry = {**BACKUP, "sampled_leaves": 12, "sampled_s": now_s - 7200}
    print_backups({"backups": [sampled], "kit": True})
    said = capsys.readouterr().out
    assert "12 samples were fetched back, all of them right, the last 2 h ago." in said


def test_what_endangers_copies_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    warning = "7 of 7 shares are with one network. Name super-nodes of more networks."
    reason = f"What may be lost together is no matter of chance: {warning}"
    entry: BackupEntry = {
        **BACKUP,
        "warnings": [warning],
        "outlook": {"loss_in_a_year": None, "reason": reason, "assumptions": []},
        "domains": [
            {"kind": kind, "name": name, "shares": 2}
            for kind, name in (("owner", "Ada"), ("region", "Oslo"), ("owner", "Bo"))
        ],
    }
    print_backups({"backups": [entry], "kit": True})
    shown = capsys.readouterr().out
    assert shown.count(warning) == 1
    assert "No durability can be given. What may be lost together is no matter of chance." in shown
    assert "together: owner: Ada 2, Bo 2; region: Oslo 2." in shown


def test_what_is_empty_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_backups({"backups": [], "kit": False})
    assert capsys.readouterr().out.startswith("No folder is kept at super-nodes.")


async def test_a_sentence_ends_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await command(tmp_path, "backup", "add", "photos", "--nodes", "A,B") == 2
    assert "#FINGERPRINT. `holdfast backup add --help`" in capsys.readouterr().err


async def test_who_waits_is_told_when_it_is_stored_or_what_keeps_it_from_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backup_acts, "WAIT_S", 0.0)
    trouble: dict[str, object] = {"state": "trouble", "problem": "Nobody answers."}
    async with running(tmp_path) as daemon:
        daemon.coming += [{"state": "waiting"}, trouble, {"state": "storing"}]
        add = ("backup", "add", "photos", "--nodes", str(RELAY), "--wait")
        assert await command(tmp_path, *add) == 0
        asked = [call[0] for call in daemon.calls if call[0] != "status"]
        assert asked == ["add_backup", *["backups"] * 4]
        monkeypatch.setattr(backup_acts, "TROUBLE_S", 0.0)
        daemon.coming += [{"state": "storing"}, trouble]
        assert await command(tmp_path, "backup", "status", "--wait") == 1
        assert "photos is not stored: Nobody answers." in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["0/3", "4/3", "4", "a/b", "1/33"])
async def test_a_scheme_that_is_none_is_refused(scheme: str, tmp_path: Path) -> None:
    words = ("backup", "add", "f", "--nodes", str(RELAY), "--scheme", scheme)
    assert await command(tmp_path, *words) == 2


async def test_recover_makes_a_home_with_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = []

    async def recover(*arguments: Any) -> dict[str, Any]:
        given.extend(arguments)
        return {"folders": [{"name": "photos"}], "others": ["1f" * 32]}

    monkeypatch.setattr(recovery, "recover", recover)
    monkeypatch.setenv(KIT_VARIABLE, KIT)
    home, into = tmp_path / "home", tmp_path / "back"
    words = ("recover", "--relay", str(RELAY), "--name", "new", "--to", str(into))
    assert await command(home, *words) == 0
    assert given[:-1] == [home, bytes(range(32)), [RELAY], "new", None, into]
    said = capsys.readouterr().out
    assert "Found: photos." in said
    assert "One other device is still yours." in said
    assert "    holdfast devices remove 1f1f1f1f\n" in said
    monkeypatch.setenv(KIT_VARIABLE, "no kit at all")
    assert await command(home, *words) == 55
    assert "no kit at all" not in capsys.readouterr().err
