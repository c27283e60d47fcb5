"""A configuration is valid as a whole or refused with a sentence that says what to change."""

from __future__ import annotations

import fcntl
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.device.config import (
    KEYS,
    Config,
    format_address,
    parse_address,
    read_config,
    read_value,
    write_value,
)
from peer.device.small_file import write_durably
from peer.errors import BadConfig

EVERYTHING = """
[network]
listen = ["127.0.0.1:1", "[::1]:2"]
discovery = false
links = ["quic"]
port_mapping = false
[folders]
rescan_interval_s = 60
hold_files = 10
hold_percent = 50
recheck_days = 11
free_space_min_bytes = 0
compact_changesets_min = 7
compact_ratio_min = 9
keep_superseded_days = 8
"""


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return read_config(path)


def test_no_file_is_all_defaults(tmp_path: Path) -> None:
    assert read_config(tmp_path / "config.toml") == Config()


def test_every_field_has_a_key() -> None:
    assert list(KEYS) == [field.name for field in fields(Config)]


def test_everything_can_be_set(tmp_path: Path) -> None:
    listen = (("127.0.0.1", 1), ("::1", 2))
    numbers = (60, 10, 50, 11, 0, 7, 9, 8)
    assert read(tmp_path, EVERYTHING) == Config(listen, False, ("quic",), False, *numbers)


def test_a_single_address_needs_no_list(tmp_path: Path) -> None:
    assert read(tmp_path, 'network.listen = "0.0.0.0:0"').listen == (("0.0.0.0", 0),)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[network]\nlisten = 'example.org:1'", ["network.listen", "'example.org:1'", ":22330"]),
        ("[network]\nlisten = []", ["network.listen", "[]"]),
        ("[network]\nlisten = ['::1:5']", ["network.listen", "::1:5"]),
        ("[network]\nlisten = ['127.0.0.1:70000']", ["network.listen", "70000"]),
        ("[network]\nlisten = 22330", ["network.listen", "22330"]),
        ("[network]\ndiscovery = 1", ["network.discovery", "'1'", "true or false"]),
        ("[network]\nlinks = ['tls', 'tls']", ["network.links", "each once"]),
        ("[network]\nlinks = ['http']", ["network.links", "http"]),
        ("[network]\nlinks = []", ["network.links"]),
        ("[folders]\nhold_percent = 0", ["folders.hold_percent", "'0'", "1 to 100"]),
        ("[folders]\nhold_percent = 25.0", ["folders.hold_percent", "25.0"]),
        ("[folders]\nhold_files = true", ["folders.hold_files", "true"]),
        ("[folders]\nrescan_interval_s = -1", ["folders.rescan_interval_s", "-1", "seconds"]),
        ("[folders]\nfree_space_min_bytes = 'a lot'", ["free_space_min_bytes", "a lot"]),
        ("[folders]\nhold_file = 1", ["no key folders.hold_file", "folders.hold_files"]),
        ("listen = 'x'", ["no key listen"]),
        ("network = 3", ["no key network"]),
        ("[network.listen]\na = 1", ["network.listen"]),
        ("[network", ["not TOML"]),
        ("a = 1\na = 2", ["not TOML"]),
        ("#" + "x" * 70_000, ["64 KiB"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(BadConfig) as caught:
        read(tmp_path, text)
    sentence = str(caught.value)
    assert sentence.startswith("config.toml")
    for part in parts:
        assert part in sentence


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(BadConfig, match="UTF-8"):
        read_config(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadConfig, match="cannot be read"):
        read_config(path)


def test_writing_keeps_comments_and_order(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    before = "# mine\n[folders]\nhold_files = 7 # lucky\n\n[network]\n# quiet\ndiscovery = true\n"
    path.write_text(before)
    config = write_value(path, "discovery", False)
    assert config == Config(discovery=False, hold_files=7)
    assert path.read_text() == before.replace("true", "false")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("listen", (("127.0.0.1", 5), ("::", 6))),
        ("discovery", False),
        ("links", ("quic", "tls")),
        ("rescan_interval_s", 0),
        ("hold_files", 1),
        ("hold_percent", 100),
        ("free_space_min_bytes", 1 << 40),
        ("compact_changesets_min", 1),
        ("compact_ratio_min", 0),
        ("keep_superseded_days", 0),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "config.toml"
    assert write_value(path, field, value) == read_config(path)
    assert getattr(read_config(path), field) == value


def test_nothing_invalid_is_written(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[folders]\nhold_files = 7\n")
    with pytest.raises(BadConfig):
        write_value(path, "hold_percent", 101)
    assert path.read_text() == "[folders]\nhold_files = 7\n"
    path.write_text("network = 3")
    with pytest.raises(BadConfig):
        write_value(path, "discovery", True)
    path.write_text("[folders")
    with pytest.raises(BadConfig, match="cannot be changed"):
        write_value(path, "hold_files", 1)


def test_options_are_checked_like_the_file() -> None:
    config = Config().with_values(listen=read_value("listen", "[::1]:0", "--listen"))
    assert config.listen == (("::1", 0),)
    with pytest.raises(BadConfig, match="--listen"):
        read_value("listen", "nowhere", "--listen")


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_reads_back(host: Any, port: int) -> None:
    assert parse_address(format_address((str(host), port))) == (str(host), port)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        host, port = parse_address(text)
    except ValueError:
        return
    assert parse_address(format_address((host, port))) == (host, port)


def test_of_two_who_set_at_once_both_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands, or a command and the daemon: the other begins between reading and writing."""
    path, flock, write = tmp_path / "config.toml", fcntl.flock, write_durably
    goes_on = threading.Event()
    others: list[threading.Thread] = []

    def locked(descriptor: int, operation: int) -> None:
        if others:
            goes_on.set()  # it waits from here on
        flock(descriptor, operation)

    def other() -> None:
        write_value(path, "discovery", False)
        goes_on.set()

    def written(path: Path, data: bytes) -> None:
        if not others:
            others.append(threading.Thread(target=other))
            others[0].start()
            goes_on.wait()
        write(path, data)

    monkeypatch.setattr("fcntl.flock", locked)
    monkeypatch.setattr("peer.device.config.write_durably", written)
    write_value(path, "hold_files", 7)
    others[0].join()
    config = read_config(path)
    assert (config.hold_files, config.discovery) == (7, False)
