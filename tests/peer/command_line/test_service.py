"""The service's description, and what is said when its manager does not do as asked."""

from __future__ import annotations

import os
import plistlib
import shlex
import stat
import sys
from pathlib import Path
from random import Random

import pytest

from crypto.key_file import encode_key_file
from crypto.keys import DeviceKeys
from peer.command_line import service
from peer.command_line.service import (
    Service,
    describe,
    install,
    quoted,
    service_of,
    state_of,
    uninstall,
)
from peer.errors import NoDevice, ServiceFailed

RANDOM = Random(1).randbytes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HOLDFAST_PASSPHRASE_FILE", raising=False)
    home = tmp_path / "a home with 100% $pace"
    home.mkdir()
    (home / "key").write_bytes(encode_key_file(DeviceKeys.generate(RANDOM), RANDOM))
    return home


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it was asked; it fails if `fails` is there."""
    tools = tmp_path / "bin"
    tools.mkdir()
    script = tools / "systemctl"
    script.write_text(
        f'#!/bin/sh\necho "$*" >> {shlex.quote(str(tools / "asked"))}\n'
        f"if [ -e {shlex.quote(str(tools / 'fails'))} ]; then echo no bus >&2; exit 1; fi\n"
        "echo active\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tools


def of(home: Path) -> Service:
    return service_of(home, is_default=False, platform="linux")


def test_each_home_has_a_service_of_its_own(home: Path) -> None:
    default = service_of(home, is_default=True, platform="linux")
    assert default.name == "holdfast.service"
    assert of(home).name != of(home.parent).name
    assert of(home).path.parent == home.parent / "config" / "systemd" / "user"
    agent = service_of(home, is_default=True, platform="darwin")
    assert agent.path.name == "org.holdfast.plist"


def test_the_unit_runs_the_daemon_of_this_home(home: Path) -> None:
    text = describe(of(home), home).decode()
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$"))
    assert words == [sys.executable, "-P", "-m", "peer", "--home", str(home), "run"]
    assert "100%% $$pace" in line
    for wanted in ("Type=notify", "WatchdogSec=", "NoNewPrivileges=yes", "Restart=on-failure"):
        assert wanted in text
    assert "UMask" not in text  # the files that come have the rights that a person's own have


def test_the_agent_runs_it_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PASSPHRASE_FILE", "/p")
    found = service_of(home, is_default=True, platform="darwin")
    agent = plistlib.loads(describe(found, home))
    assert agent["ProgramArguments"][-3:] == ["--home", str(home), "run"]
    assert agent["EnvironmentVariables"] == {"HOLDFAST_PASSPHRASE_FILE": "/p"}


def test_no_path_forges_a_line_of_the_unit() -> None:
    assert quoted('a"b\\c%d') == '"a\\"b\\\\c%%d"'
    with pytest.raises(ServiceFailed):
        quoted("a\nExecStartPre=/bin/false")


def test_it_is_installed_looked_at_and_removed(home: Path, manager: Path) -> None:
    assert state_of(of(home))[0] == "absent"
    assert "runs" in install(of(home), home)
    assert of(home).path.read_bytes() == describe(of(home), home)
    assert state_of(of(home))[0] == "active"
    (manager / "fails").touch()
    state, told = state_of(of(home))
    assert (state, "is not known: no bus. Try" in told) == ("unknown", True)
    (manager / "fails").unlink()
    assert "removed" in uninstall(of(home))
    assert not of(home).path.exists()
    name = of(home).name
    assert (manager / "asked").read_text().splitlines() == [
        "--user daemon-reload", f"--user enable --now {name}",
        *[f"--user is-active {name}"] * 2,
        f"--user disable --now {name}", "--user daemon-reload",
    ]  # fmt: skip
    with pytest.raises(ServiceFailed, match="no service"):
        uninstall(of(home))


def test_what_the_manager_says_against_it_is_told(home: Path, manager: Path) -> None:
    (manager / "fails").touch()
    with pytest.raises(ServiceFailed, match=r"Nothing was installed: .* no bus\. Try"):
        install(of(home), home)
    assert not of(home).path.exists()
    assert state_of(of(home))[0] == "absent"


def test_what_was_installed_before_stays_where_its_manager_is_away(
    home: Path, manager: Path
) -> None:
    install(of(home), home)
    (manager / "fails").touch()
    with pytest.raises(ServiceFailed, match="no bus"):
        install(of(home), home)
    assert of(home).path.exists()


def test_it_is_removed_without_its_manager(home: Path, manager: Path) -> None:
    install(of(home), home)
    enabled = of(home).path.parent / "default.target.wants" / of(home).name
    enabled.parent.mkdir()
    enabled.symlink_to(of(home).path)
    (manager / "fails").touch()
    told = uninstall(of(home))
    assert "is removed" in told
    assert "no bus" in told
    assert "`holdfast stop`" in told
    assert not of(home).path.exists()
    assert not enabled.is_symlink()
    assert state_of(of(home))[0] == "absent"


def test_a_key_that_a_person_unlocks_is_refused_with_the_way_out(
    home: Path, manager: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = encode_key_file(DeviceKeys.generate(RANDOM), RANDOM, passphrase="secret")
    (home / "key").write_bytes(locked)
    with pytest.raises(ServiceFailed, match="HOLDFAST_PASSPHRASE_FILE"):
        install(of(home), home)
    monkeypatch.setenv("HOLDFAST_PASSPHRASE_FILE", "/run/pass phrase")
    install(of(home), home)
    assert 'Environment="HOLDFAST_PASSPHRASE_FILE=/run/pass phrase"' in of(home).path.read_text()
    with pytest.raises(NoDevice):
        install(of(home), home.parent)


def test_without_a_manager_it_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServiceFailed, match="systemctl does not answer"):
        install(of(home), home)
    of(home).path.write_bytes(describe(of(home), home))
    with pytest.raises(ServiceFailed):
        state_of(of(home))
    assert service.DEFAULT_NAME in of(home).name
