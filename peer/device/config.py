"""What a person can set for one device: `config.toml` in its home, checked and never guessed at.

Every key has a default, so an absent file is a valid one. A key that is not known, or a value that
is not allowed, is an error that names the key, the value and what is allowed: a typing mistake must
not become a silent default.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

from peer.command_line.mistakes import nearest
from peer.device.small_file import write_durably
from peer.errors import BadConfig
from peer.journal.webhook import parse_url

DEFAULT_PORT: Final = 22330
CONFIG_LENGTH_MAX: Final = 64 << 10
LINK_NAMES: Final = ("tls", "quic")

Address = tuple[str, int]
"""Numeric host and port; IPv6 without brackets."""


@dataclass(frozen=True, slots=True)
class Config:
    """One device's settings. Each field is the dotted key of its `KEYS` entry, with the unit at its
    end.
    """

    listen: tuple[Address, ...] = (("0.0.0.0", DEFAULT_PORT), ("::", DEFAULT_PORT))  # noqa: S104 - meant
    """Where other devices reach this one; one port serves both kinds of link. Port 0 takes a free
    one.
    """
    discovery: bool = True
    """Whether this device announces itself on the local network and looks for others there."""
    links: tuple[str, ...] = LINK_NAMES
    """The kinds of link this device dials and accepts, the preferred one first."""
    port_mapping: bool = True
    """Whether the router is asked to open a port, which makes a direct way through most routers."""
    rescan_interval_s: int = 3600
    """How often a folder is walked in full, in case the system lost an event; 0 walks it at the
    start only.
    """
    hold_files: int = 500
    """Deletions or rewrites at once, from which on the folder asks before it passes them on."""
    hold_percent: int = 25
    """The same as a share of the folder's files; the smaller of the two holds, but never below 10
    deletions or 50 rewrites.
    """
    recheck_days: int = 30
    """Within how many days all files are read again, to find what a disk has changed by itself; 0
    for never.
    """
    free_space_min_bytes: int = 256 << 20
    """Below this much free space on a folder's disk nothing is fetched to it."""
    compact_changesets_min: int = 4096
    """How many changesets a device's log has at least before it is compacted."""
    compact_ratio_min: int = 2
    """How many times as large its log is at least as what of it counts."""
    keep_superseded_days: int = 30
    """How long changesets stay in the index whose content was told again by a compaction."""

    history_days: int = 30
    """How long every version of a file is kept that another device replaced or deleted; 0 keeps
    none.
    """
    history_thinned_days: int = 180
    """How long one version a week is kept after that, counted from when it was replaced."""

    search_text: bool = True
    """Whether what is in files is found too, for which their text is kept in the home."""

    notice_command: tuple[str, ...] = ()
    """What is run for each notice, with its sentence as the last argument; nothing if empty."""
    notice_webhook: str = ""
    """Where each notice is posted to as JSON; nowhere if empty."""
    notice_desktop: bool = False
    """Whether each notice is shown on the desktop, which takes the extra `desktop`."""

    def with_values(self, **changes: Any) -> Config:
        """A copy with some fields replaced, as by command line options; see `read_value`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Config(**(values | changes))


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file: where it is, how its value is read and written, what is allowed."""

    dotted: str
    read: Callable[[Any], Any]
    """From the file's value to the field's; raises ValueError or TypeError for what is not allowed.
    """
    write: Callable[[Any], Any]
    allowed: str
    """Completes the sentence "allowed is ..."."""


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _between(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        # bool is an int in Python, and `rescan_interval_s = true` is a mistake.
        if type(value) is not int:
            raise TypeError
        if not low <= value <= high:
            raise ValueError
        return value

    return read


def parse_address(text: str) -> Address:
    """Reads `192.0.2.1:22330` or `[2001:db8::1]:22330`; raises ValueError, also for a name instead
    of a number.
    """
    host, separator, port_text = text.rpartition(":")
    if not separator or not port_text.isascii() or not port_text.isdecimal() or len(port_text) > 5:
        raise ValueError(text)
    port = int(port_text)
    if port > 65535:
        raise ValueError(text)
    is_bracketed = host.startswith("[") and host.endswith("]")
    address = ip_address(host[1:-1] if is_bracketed else host)
    if isinstance(address, IPv6Address) != is_bracketed:
        raise ValueError(text)
    return str(address), port


def format_address(address: Address) -> str:
    """The inverse of `parse_address`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(value: Any) -> tuple[Address, ...]:
    texts = [value] if isinstance(value, str) else value
    if type(texts) is not list or not all(isinstance(text, str) for text in texts):
        raise TypeError
    if not 1 <= len(texts) <= 8:
        raise ValueError
    return tuple(parse_address(text) for text in texts)


def _links(value: Any) -> tuple[str, ...]:
    if type(value) is not list or not all(isinstance(name, str) for name in value):
        raise TypeError
    if not value or len(set(value)) != len(value) or not set(value) <= set(LINK_NAMES):
        raise ValueError
    return tuple(value)


def _command(value: Any) -> tuple[str, ...]:
    words = shlex.split(value) if isinstance(value, str) else value
    if type(words) is not list or not all(isinstance(word, str) for word in words):
        raise TypeError
    if len(words) > 32 or any("\0" in word for word in words) or (words and not words[0]):
        raise ValueError
    return tuple(words)


def _url(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if value:
        parse_url(value)
    return value


def _write_as_is(value: Any) -> Any:
    return value


KEYS: Final[Mapping[str, Key]] = {
    "listen": Key(
        "network.listen",
        _addresses,
        lambda addresses: [format_address(address) for address in addresses],
        'a list of up to 8 addresses like "0.0.0.0:22330" or "[::]:22330"',
    ),
    "discovery": Key("network.discovery", _boolean, _write_as_is, "true or false"),
    "links": Key("network.links", _links, list, 'a list of "tls" and "quic", each once'),
    "port_mapping": Key("network.port_mapping", _boolean, _write_as_is, "true or false"),
    "rescan_interval_s": Key(
        "folders.rescan_interval_s", _between(0, 30 * 86400), _write_as_is, "0 to 2,592,000 seconds"
    ),
    "hold_files": Key(
        "folders.hold_files", _between(1, 10**9), _write_as_is, "1 to 1,000,000,000 files"
    ),
    "hold_percent": Key("folders.hold_percent", _between(1, 100), _write_as_is, "1 to 100 percent"),
    "recheck_days": Key("folders.recheck_days", _between(0, 3650), _write_as_is, "0 to 3650 days"),
    "free_space_min_bytes": Key(
        "folders.free_space_min_bytes", _between(0, 1 << 50), _write_as_is, "0 to 2^50 bytes"
    ),
    "compact_changesets_min": Key(
        "folders.compact_changesets_min",
        _between(1, 10**9),
        _write_as_is,
        "1 to 1,000,000,000 changesets",
    ),
    "compact_ratio_min": Key(
        "folders.compact_ratio_min", _between(0, 1000), _write_as_is, "0 to 1000"
    ),
    "keep_superseded_days": Key(
        "folders.keep_superseded_days", _between(0, 3650), _write_as_is, "0 to 3650 days"
    ),
    "history_days": Key("history.days", _between(0, 3650), _write_as_is, "0 to 3650 days"),
    "history_thinned_days": Key(
        "history.thinned_days", _between(0, 36500), _write_as_is, "0 to 36500 days"
    ),
    "search_text": Key("search.text", _boolean, _write_as_is, "true or false"),
    "notice_command": Key(
        "notifications.command", _command, list, "a list of a program and its first arguments"
    ),
    "notice_webhook": Key(
        "notifications.webhook", _url, _write_as_is, 'a URL of http or https, or ""'
    ),
    "notice_desktop": Key("notifications.desktop", _boolean, _write_as_is, "true or false"),
}
"""Every key of `config.toml`, by the field of `Config` that it sets."""

_FIELDS: Final = {key.dotted: name for name, key in KEYS.items()}


def read_config(path: Path) -> Config:
    """Reads and checks the file; defaults if there is none. Raises BadConfig with a sentence that
    says what to change.
    """
    return _check(_flatten(_load(path)), path.name)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_LENGTH_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadConfig(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) > CONFIG_LENGTH_MAX:
        raise BadConfig(f"{path.name} is longer than {CONFIG_LENGTH_MAX >> 10} KiB.")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path.name} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path.name} is not TOML: {error}.") from error


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a document, one level of tables deep, as the known keys are; deeper ones stay
    values.
    """
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict) and not prefix:
            flat |= _flatten(value, f"{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _check(values: Mapping[str, Any], name: str) -> Config:
    fields_read: dict[str, Any] = {}
    for dotted, value in values.items():
        if dotted not in _FIELDS:
            raise BadConfig(
                f"{name}: there is no key {dotted}; there are {', '.join(sorted(_FIELDS))}."
            )
        field = _FIELDS[dotted]
        fields_read[field] = read_value(field, value, name)
    return Config(**fields_read)


def field_of(dotted: str) -> str:
    """The field that a key of the file sets; raises BadConfig for no key."""
    if dotted not in _FIELDS:
        raise BadConfig(
            f"There is no setting {dotted!r}.{nearest(dotted, _FIELDS)}"
            " `holdfast config` shows all."
        )
    return _FIELDS[dotted]


def parse_value(text: str) -> Any:
    """A value as a person types it: what TOML reads as one is that, all else is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def read_value(field: str, value: Any, source: str = "config.toml") -> Any:
    """Checks one value of the file's form for a field of `Config`; raises BadConfig, which names
    `source`, if it is not what a person has just typed.
    """
    key = KEYS[field]
    try:
        return key.read(value)
    except (TypeError, ValueError):
        shown = value if isinstance(value, str) else tomlkit.item(value).as_string()
        where = f"{source}: {key.dotted} is" if source else f"{key.dotted} cannot be"
        raise BadConfig(f"{where} {shown[:80]!r}; allowed is {key.allowed}.") from None


def write_value(path: Path, field: str, value: Any) -> Config:
    """Sets one field in the file, which keeps its comments, and returns the whole configuration.

    `value` has the field's own form, as in `Config`. The file is replaced in one step and only by a
    valid one; who changes another field at the same moment, be it another process, waits.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        return _write_value(path, field, value)
    finally:
        os.close(directory)


def _write_value(path: Path, field: str, value: Any) -> Config:
    key = KEYS[field]
    try:
        document = tomlkit.parse(path.read_text()) if path.exists() else tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise BadConfig(
            f"{path.name} cannot be changed because it cannot be read: {error}."
        ) from error
    section, name = key.dotted.split(".")
    if section not in document:
        document[section] = tomlkit.table()
    table = document[section]
    if not isinstance(table, dict):
        raise BadConfig(f"{path.name}: {section} has to be a table.")
    table[name] = key.write(value)
    text = tomlkit.dumps(document)
    config = _check(_flatten(tomllib.loads(text)), path.name)
    write_durably(path, text.encode())
    return config
