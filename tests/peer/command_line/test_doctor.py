import os
import socket
from pathlib import Path

import pytest

from peer.command_line import doctor
from peer.control.control_client import ControlClient


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


def test_everything_is_looked_at_and_trouble_has_a_cure(home: Path) -> None:
    checks = doctor.examine(home)
    assert len({check.name for check in checks}) == len(checks) == 15
    assert all(check.finding for check in checks)
    assert all(check.cure for check in checks if not check.is_well)


def test_a_private_home_is_well(home: Path) -> None:
    (home / "key").touch(mode=0o600)
    assert doctor.check_home(home).is_well
    assert doctor.check_home(home / "not made yet").is_well


def test_a_home_that_others_read(home: Path) -> None:
    (home / "key").touch()
    (home / "key").chmod(0o644)
    assert doctor.check_home(home).cure == f"chmod go= {home / 'key'}"
    home.chmod(0o755)
    assert doctor.check_home(home).cure == f"chmod go= {home}"


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not doctor.check_home(tmp_path / "file").is_well
    assert not doctor.check_home(tmp_path / "file" / "beneath").is_well


def test_a_configuration_with_a_mistake(home: Path) -> None:
    assert doctor.check_config(home).is_well
    (home / "config.toml").write_text("[network]\nlisten = 7\n")
    check = doctor.check_config(home)
    assert not check.is_well
    assert "listen" in check.finding


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_is_taken(home: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        (home / "config.toml").write_text(f'[network]\nlisten = ["127.0.0.1:{port}"]\n')
        check = doctor.check_port(home)
    assert not check.is_well
    assert "in use" in check.finding
    assert doctor.check_port(home).is_well


def test_a_daemon_that_does_not_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_daemon(home).is_well, "there is no device yet"
    (home / "key").touch(mode=0o600)
    check = doctor.check_daemon(home)
    assert (check.is_well, check.word) == (False, "trouble")
    assert "`holdfast run`" in str(check.cure)
    assert doctor.check_relays(home).word == "", "what is not known is not well either"
    monkeypatch.setattr(ControlClient, "status", lambda self: {"folders": []})
    assert (doctor.check_daemon(home).word, doctor.check_folders(home).word) == ("ok", "ok")


@pytest.mark.parametrize(("watches", "is_well"), [("8192\n", False), ("524288\n", True)])
def test_few_watches(
    home: Path, watches: str, is_well: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "INOTIFY_DIRECTORY", tmp_path)
    (tmp_path / "max_user_watches").write_text(watches)
    assert doctor.check_watches(home).is_well is is_well


def test_no_limit_on_watches_is_no_trouble(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "INOTIFY_DIRECTORY", tmp_path)
    assert doctor.check_watches(home).is_well


def test_a_clock_that_was_never_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_clock(home).is_well
    monkeypatch.setattr("time.time", lambda: 86_400.0)
    check = doctor.check_clock(home)
    assert not check.is_well
    assert "1970" in check.finding


def test_a_full_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GB free" in doctor.check_disk(home / "not" / "made").finding
    monkeypatch.setattr("peer.command_line.doctor.FREE_BYTES_MIN", 1 << 62)
    assert not doctor.check_disk(home).is_well


def test_what_keeps_folders_from_being_synced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_folders(home).is_well, "no daemon runs"
    full = {"path": "", "reason": "120 MB are to be fetched. Make room."}
    told: dict[str, list[dict[str, object]]] = {"folders": []}
    monkeypatch.setattr(ControlClient, "status", lambda self: told)
    socket = {"path": "a/socket", "reason": "It is a socket."}
    told["folders"].append({"name": "f", "state": "in sync", "errors": [socket]})
    assert doctor.check_folders(home).is_well, "what is skipped, as a socket is, is no trouble"
    for name, state in (("g", "no space"), ("h", "scanning")):
        told["folders"].append({"name": name, "state": state, "errors": [full]})
    check = doctor.check_folders(home)
    assert not check.is_well
    assert check.finding == (
        "g/: 120 MB are to be fetched. Make room. So it is with 1 more folder."
    )


def test_a_relay_that_is_not_reached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_relays(home).is_well, "no daemon runs"
    relay = {"address": "holdfast-relay://one:1#fingerprint", "connected": True, "problem": ""}
    told: dict[str, list[dict[str, object]]] = {"relays": []}
    monkeypatch.setattr(ControlClient, "relays", lambda self: told)
    assert doctor.check_relays(home).finding == "none is used"
    told["relays"].append(dict(relay))
    assert doctor.check_relays(home).finding == "1 reached"
    told["relays"].append(relay | {"connected": False, "problem": "It does not answer."})
    check = doctor.check_relays(home)
    assert not check.is_well
    assert check.finding == "holdfast-relay://one:1: It does not answer."


def test_a_disk_that_changes_files_by_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_files(home).is_well, "no daemon runs"
    told: dict[str, object] = {"folders": [{"name": "f"}, {"name": "g", "damaged_files": 0}]}
    monkeypatch.setattr(ControlClient, "status", lambda self: told)
    assert doctor.check_files(home).is_well
    told["folders"] = [{"name": "f"}, {"name": "g", "damaged_files": 2}]
    check = doctor.check_files(home)
    assert not check.is_well
    assert "2 in g" in check.finding


def test_the_doctor_changes_nothing(home: Path) -> None:
    doctor.examine(home)
    assert os.listdir(home) == []
