"""A relay's settings are valid as a whole, or refused with a sentence that says what to change."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import CONFIG_LENGTH_MAX, KEYS, RelayConfig, example, read_config
from relay.errors import BadConfig
from relay.limits import Limits


def read(tmp_path: Path, text: str) -> RelayConfig:
    path = tmp_path / "relay.toml"
    path.write_text(text)
    return read_config(path)


def test_no_file_is_all_defaults() -> None:
    assert read_config(None) == RelayConfig()


def test_the_example_is_all_defaults_and_tells_of_every_key(tmp_path: Path) -> None:
    assert read(tmp_path, example()) == RelayConfig()
    told = tomllib.loads(example())
    assert [f"{table}.{name}" for table in told for name in told[table]] == [
        key.dotted for key in KEYS
    ]
    assert max(map(len, example().splitlines())) <= 96


def test_everything_can_be_set(tmp_path: Path) -> None:
    limits = "\n".join(f"{name} = 1000" for name in vars(Limits()))
    text = f"""
[relay]
public_host = "relay.example.org"
open = false
[log]
level = "warning"
form = "json"
[watch]
listen = "[::1]:9330"
[storage]
path = "/srv/shares"
quota_mib = 1000
namespace_mib = 100
owner = "Ada"
region = "Oslo"
lost_after_s = 600
meet_every_s = 60
[web]
listen = 8443
links = 3
links_per_owner = 2
uploads_mib = 5
uploads_mib_per_owner = 4
requests_per_second_per_address = 50
certificate = "/etc/a.pem"
key = "/etc/a.key"
self_signed = true
url = "https://share.example.org"
[limits]
{limits}
"""
    assert read(tmp_path, text) == RelayConfig(
        "relay.example.org",
        False,
        ("::1", 9330),
        "warning",
        "json",
        "/srv/shares",
        1000,
        100,
        "Ada",
        "Oslo",
        600,
        60,
        ("127.0.0.1", 8443),
        "/etc/a.pem",
        "/etc/a.key",
        True,
        "https://share.example.org",
        3,
        2,
        5,
        4,
        50,
        Limits(**dict.fromkeys(vars(Limits()), 1000)),
    )


def test_a_bare_port_is_watched_on_this_machine_only(tmp_path: Path) -> None:
    assert read(tmp_path, "watch.listen = 9330").watch == ("127.0.0.1", 9330)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\ndevises = 3", ["no key limits.devises", "holdfast relay config"]),
        ("devices = 3", ["no key devices"]),
        ("[relais]\nopen = true", ["no key relais.open"]),
        ("limits = 3", ["[limits]"]),
        ("[limits]\ndevices = true", ["limits.devices is true", "1 to 65,536"]),
        ("[limits]\ndevices = 65537", ["limits.devices is 65537", "1 to 65,536"]),
        ('[storage]\npath = "shares"', ["storage.path is 'shares'", "begins with /"]),
        ("[storage]\npath = 3", ["storage.path is 3", "begins with /"]),
        ("[storage]\nquota_mib = 0", ["storage.quota_mib is 0", "MiB"]),
        ('[storage]\nowner = "a\\u001bb"', ["storage.owner", "at most 64 characters"]),
        (f'[storage]\nregion = "{"x" * 65}"', ["storage.region", "at most 64 characters"]),
        ("[storage]\nregion = 7", ["storage.region is 7"]),
        ("[limits]\nhalf_open = 0", ["limits.half_open is 0", "16 to"]),
        ("[limits]\nmib_per_day_per_device = 1.5", ["is 1.5", "MiB"]),
        ("[relay]\nopen = 'yes'", ["relay.open is 'yes'", "true or false"]),
        ("[relay]\npublic_host = 'a b'", ["public_host", "relay.example.org"]),
        ("[relay]\npublic_host = 'relay.example.org:443'", ["without a port"]),
        ("[watch]\nlisten = 70000", ["watch.listen is 70000"]),
        ("[watch]\nlisten = 'localhost:9330'", ["watch.listen"]),
        ("[watch]\nlisten = {a = 1}", ["watch.listen"]),
        ("[log]\nlevel = 'loud'", ['"debug"']),
        ("[web]\nuploads_mib = 0", ["web.uploads_mib is 0", "MiB"]),
        ("[web]\nlinks_per_owner = true", ["web.links_per_owner is true", "1 to"]),
        ("[web]\nrequests_per_second_per_address = -1", ["is -1", "0 to 100,000"]),
        ("[log]\nform = 3", ['"json"']),
        ("[relay", ["not TOML"]),
        ("#" * (CONFIG_LENGTH_MAX + 1), ["64 KiB"]),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(BadConfig) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert "relay.toml" in said
    assert said.endswith((".", "?"))
    for word in words:
        assert word in said


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="--config"):
        read_config(tmp_path / "missing.toml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig, match="UTF-8"):
        read_config(tmp_path / "binary")


@given(
    st.sampled_from(KEYS),
    st.one_of(st.integers(), st.booleans(), st.text(), st.floats(), st.lists(st.integers())),
)
def test_any_value_is_read_or_refused(key: Any, value: Any) -> None:
    try:
        key.read(value)
    except (TypeError, ValueError):
        pass
