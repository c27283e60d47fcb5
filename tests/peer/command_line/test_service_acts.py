"""`holdfast config`, `service` and `completion` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peer.command_line.cli import main
from peer.device.config import read_config
from peer.errors import BadConfig, NoDevice


def run(home: Path, *words: str) -> int:
    return main(["--home", str(home), *words])


def test_a_setting_is_shown_and_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "config", "set", "folders.hold_files", "7") == 0
    assert run(tmp_path, "config", "set", "network.discovery", "false") == 0
    assert run(tmp_path, "config", "set", "notifications.command", '["a", "b c"]') == 0
    assert run(tmp_path, "config", "set", "notifications.webhook", "https://example.org/x") == 0
    config = read_config(tmp_path / "config.toml")
    assert (config.hold_files, config.discovery) == (7, False)
    assert config.notice_command == ("a", "b c")
    assert config.notice_webhook == "https://example.org/x"
    capsys.readouterr()
    assert run(tmp_path, "config", "get", "folders.hold_files") == 0
    assert capsys.readouterr().out == "7\n"
    assert run(tmp_path, "config", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["folders.hold_files"] == 7
    assert run(tmp_path, "config") == 0
    table = capsys.readouterr().out
    assert "1 to 1,000,000,000 files; default: 500" in table
    assert "0 to 36500 days" in table


@pytest.mark.parametrize(
    ("key", "value"),
    [("folders.hold_files", "0"), ("folders.hold_files", "many"), ("network.discovery", "yes"),
     ("notifications.webhook", "ftp://x"), ("no.such", "1")],
)  # fmt: skip
def test_what_is_not_allowed_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    assert run(tmp_path, "config", "set", key, value) == BadConfig.exit_code
    told = capsys.readouterr().err
    assert f"{key} cannot be '{value}'; allowed is" in told or f"no setting '{key}'" in told
    assert not (tmp_path / "config.toml").exists()
    assert (
        run(tmp_path / "nowhere", "config", "set", "folders.hold_files", "7") == NoDevice.exit_code
    )


def test_a_service_needs_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(tmp_path, "service", "install") == NoDevice.exit_code
    assert run(tmp_path, "service", "status") == 0
    assert "There is no service" in capsys.readouterr().out
    assert run(tmp_path, "service", "uninstall") != 0


def test_a_script_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "completion", "fish") == 0
    assert "complete -c holdfast" in capsys.readouterr().out
