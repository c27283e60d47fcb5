"""What a person can set for a relay: `relay.toml`, checked and never guessed at.

Every key has a default, so no file is a valid one. A key that is not known, or a value that is not
allowed, is an error that names the file, the key, the value and what is allowed. `example` writes
the whole file with its defaults and what each key means.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from protocol.fields import is_control
from protocol.relay_address import RelayAddress
from protocol.share_url import ShareUrl
from protocol.storage_messages import LABEL_LENGTH_MAX
from relay.errors import BadConfig
from relay.limits import Limits

CONFIG_LENGTH_MAX: Final = 64 << 10
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMS: Final = ("text", "json")
LOOPBACK: Final = "127.0.0.1"

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """One relay's settings."""

    public_host: str = ""
    is_open: bool = True
    watch: Address | None = None
    """Where /metrics and /healthz are answered."""
    log_level: str = "info"
    log_form: str = "text"
    storage_path: str = ""
    """Where shares of packs lie; empty: none are stored."""
    storage_mib: int = 102_400
    namespace_mib: int = 102_400
    storage_owner: str = ""
    storage_region: str = ""
    lost_after_s: int = 86_400
    meet_every_s: int = 900
    web: Address | None = None
    """Where share links are served."""
    web_certificate: str = ""
    web_key: str = ""
    web_self_signed: bool = False
    web_url: str = ""
    web_links: int = 65_536
    web_links_per_owner: int = 1_000
    web_uploads_mib: int = 65_536
    web_uploads_mib_per_owner: int = 16_384
    web_requests_per_second: int = 0
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file."""

    dotted: str
    name: str
    """The field of `RelayConfig` or of `Limits`."""
    read: Callable[[Any], Any]
    """From the file's value to the field's; raises ValueError or TypeError for what is not allowed.
    """
    allowed: str
    """Completes the sentence "allowed is ..."."""
    meaning: str
    """For who reads the example."""
    default: str
    """As it stands in the file."""


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _host(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    if value:
        # An address with this host has to be one that devices read.
        host = f"[{value}]" if ":" in value else value
        RelayAddress.parse(f"holdfast-relay://{host}:1#{'a' * 52}")
    return value


def _watch(value: Any) -> Address | None:
    """A port of this machine alone, or an address and a port."""
    if type(value) is int:
        host, port = LOOPBACK, value
    elif type(value) is str:
        if not value:
            return None
        host, separator, text = value.rpartition(":")
        if not separator or not text.isascii() or not text.isdecimal() or len(text) > 5:
            raise ValueError
        port = int(text)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        host = str(ip_address(host))
    else:
        raise TypeError
    if not 0 < port <= 65535:
        raise ValueError
    return host, port


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if type(value) is not str:
            raise TypeError
        if value not in allowed:
            raise ValueError
        return value

    return read


def _between(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        # bool is an int in Python, and `devices = true` is a mistake.
        if type(value) is not int:
            raise TypeError
        if not low <= value <= high:
            raise ValueError
        return value

    return read


def _absolute(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    if value and (not value.startswith("/") or "\0" in value):
        raise ValueError
    return value


def _web_url(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    if value and str(ShareUrl.parse(f"{value}/s/{'A' * 22}#{'A' * 43}")).split("/s/")[0] != value:
        raise ValueError
    return value


def _label(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    if len(value) > LABEL_LENGTH_MAX or any(map(is_control, value)):
        raise ValueError
    return value


def _limit(name: str, low: int, high: int, meaning: str, unit: str = "") -> Key:
    allowed = f"{low:,} to {high:,}{unit}"
    return Key(
        f"limits.{name}", name, _between(low, high), allowed, meaning, str(getattr(Limits(), name))
    )


KEYS: Final = (
    Key(
        "relay.public_host",
        "public_host",
        _host,
        'a name or an address without a port, like "relay.example.org"',
        "The name or address by which devices reach this machine. It is only printed, in the"
        " address that you give to people; empty: what --listen says.",
        '""',
    ),
    Key(
        "relay.open",
        "is_open",
        _boolean,
        "true or false",
        "true: whoever knows the address may use this relay. false: only devices with a token"
        " that `holdfast relay invite` made, and those that have once shown one.",
        "true",
    ),
    Key(
        "log.level",
        "log_level",
        _one_of(LOG_LEVELS),
        '"debug", "info", "warning" or "error"',
        "From info on no line has anybody's address in it.",
        '"info"',
    ),
    Key(
        "log.form",
        "log_form",
        _one_of(LOG_FORMS),
        '"text" or "json"',
        "json: an object a line, for programs.",
        '"text"',
    ),
    Key(
        "watch.listen",
        "watch",
        _watch,
        'a port of this machine alone, like 9330, or an address like "192.0.2.1:9330", or ""',
        "Where /metrics (for Prometheus) and /healthz are answered, to whoever asks; empty:"
        " nowhere. A bare port is one of 127.0.0.1.",
        '""',
    ),
    Key(
        "storage.path",
        "storage_path",
        _absolute,
        'a path that begins with /, like "/srv/holdfast/shares", or ""',
        "Where this relay keeps shares of packs for devices: it is a super-node then. The directory"
        " is made, and belongs to this relay alone; empty: it stores none. A relay that is open"
        " stores for whoever knows its address.",
        '""',
    ),
    Key(
        "storage.quota_mib",
        "storage_mib",
        _between(1, 1 << 30),
        "1 to 1,073,741,824 MiB",
        "All shares together take so much of the disk at most, those in the trash included.",
        "102400",
    ),
    Key(
        "storage.namespace_mib",
        "namespace_mib",
        _between(1, 1 << 30),
        "1 to 1,073,741,824 MiB",
        "The same of one folder.",
        "102400",
    ),
    Key(
        "storage.owner",
        "storage_owner",
        _label,
        "a text of at most 64 characters",
        "Whose machine this is, in a word: devices put the shares of one pack at nodes of"
        " different owners, for these do not fail together.",
        '""',
    ),
    Key(
        "storage.region",
        "storage_region",
        _label,
        "a text of at most 64 characters",
        'Where it stands, like "Oslo": the same for places.',
        '""',
    ),
    Key(
        "storage.lost_after_s",
        "lost_after_s",
        _between(6, 14 * 86_400),
        "6 to 1,209,600 seconds",
        "Another node that was not met for so long is lost, and what it held is rebuilt. A day is"
        " more than most machines are switched off for.",
        "86400",
    ),
    Key(
        "storage.meet_every_s",
        "meet_every_s",
        _between(1, 3600),
        "1 to 3,600 seconds",
        "How often each other node is met and asked for some of what it holds.",
        "900",
    ),
    Key(
        "web.listen",
        "web",
        _watch,
        'a port of this machine alone, like 8080, or an address like "192.0.2.1:443", or ""',
        "Where share links are opened by browsers; empty: nowhere. Without a certificate it is"
        " plain HTTP, which is allowed on this machine alone, for a proxy in front of it that sets"
        " X-Forwarded-For. Shares are stored below the relay's home if storage.path says nothing.",
        '""',
    ),
    Key(
        "web.certificate",
        "web_certificate",
        _absolute,
        'a path that begins with /, or ""',
        "The certificate with its chain, in PEM, for HTTP/1.1, 2 and 3.",
        '""',
    ),
    Key("web.key", "web_key", _absolute, 'a path that begins with /, or ""', "Its key.", '""'),
    Key(
        "web.self_signed",
        "web_self_signed",
        _boolean,
        "true or false",
        "true: with a certificate that this relay makes itself and no browser trusts; for tries.",
        "false",
    ),
    Key(
        "web.url",
        "web_url",
        _web_url,
        'what share links begin with, like "https://share.example.org", or ""',
        "Empty: relay.public_host with the port of web.listen.",
        '""',
    ),
    Key(
        "web.links",
        "web_links",
        _between(1, 1 << 20),
        "1 to 1,048,576",
        "Share links and upload links that are live at once; each takes 1 KiB of memory.",
        "65536",
    ),
    Key(
        "web.links_per_owner",
        "web_links_per_owner",
        _between(1, 1 << 20),
        "1 to 1,048,576",
        "The same of one device.",
        "1000",
    ),
    Key(
        "web.uploads_mib",
        "web_uploads_mib",
        _between(1, 1 << 30),
        "1 to 1,073,741,824 MiB",
        "What came by upload links and was not fetched yet takes so much of the disk at most.",
        "65536",
    ),
    Key(
        "web.uploads_mib_per_owner",
        "web_uploads_mib_per_owner",
        _between(1, 1 << 30),
        "1 to 1,073,741,824 MiB",
        "The same for one device.",
        "16384",
    ),
    Key(
        "web.requests_per_second_per_address",
        "web_requests_per_second",
        _between(0, 100_000),
        "0 to 100,000",
        "Of visitors of links from one address (of IPv6: one /64), on the average of a minute; more"
        " are told to wait. 0: as many as they like.",
        "0",
    ),
    _limit("devices", 1, 65_536, "Devices linked at once; each takes 40 KiB."),
    _limit("devices_per_address", 1, 65_536, "The same from one address (of IPv6: one /64)."),
    _limit("half_open", 16, 8_192, "Connections that have not shown yet what they are."),
    _limit("half_open_per_address", 4, 8_192, "The same from one address."),
    _limit(
        "connections_per_minute_per_address",
        60,
        1_000_000,
        "New connections; each link costs some 2 ms of a processor.",
    ),
    _limit("messages_per_minute", 60, 10_000, "Of one device; more ends its link."),
    _limit("calls_per_minute", 10, 10_000, "Calls that one device begins."),
    _limit("calls_per_minute_per_address", 10, 100_000, "The same from one address."),
    _limit(
        "codes_per_minute_per_address",
        1,
        1_000,
        "Calls of pairing codes: each may burn one of the three tries of somebody's code.",
    ),
    _limit("rings_per_minute", 10, 10_000, "Calls of one device, whoever calls."),
    _limit("calls", 1, 16_384, "Calls under way at once; each takes two connections."),
    _limit("calls_per_device", 1, 1_024, "The same, begun by one device."),
    _limit("calls_per_address", 1, 16_384, "The same, begun from one address."),
    _limit("waiting_places", 1_000, 4_000_000, "Ids that devices wait under, 250 bytes each."),
    _limit("waiting_places_per_address", 1_000, 4_000_000, "The same from one address."),
    _limit("nameplates_per_address", 1, 1_000, "Pairing codes shown from one address."),
    _limit("datagram_sessions", 0, 65_536, "Sessions of QUIC by UDP at once; 0: TCP alone."),
    _limit("datagram_sessions_per_device", 1, 1_024, "The same, begun by one device."),
    _limit(
        "datagram_mib_per_second",
        1,
        16_384,
        "By UDP, for one session, for one device and from one address; what is more is lost, as on"
        " a full line.",
        " MiB",
    ),
    _limit(
        "shows_per_minute",
        6,
        10_000,
        "Datagrams by which one device shows where it is; each is answered by one.",
    ),
    _limit(
        "mib_per_day_per_device",
        0,
        1 << 30,
        "What is carried for one device on one day (UTC); 0: as much as it likes.",
        " MiB",
    ),
    _limit(
        "mib_per_day_per_address",
        0,
        1 << 30,
        "The same for all devices of one address; 0: as much as they like.",
        " MiB",
    ),
    _limit(
        "mailboxes_mib",
        0,
        1 << 24,
        "On this disk for devices that are away, at most 30 days; 0: nothing is kept for them.",
        " MiB",
    ),
    _limit("mailboxes_mib_per_device", 1, 1 << 24, "The same, put by one device.", " MiB"),
)
"""Every key of `relay.toml`, in the order of the example."""

_KEYS: Final = {key.dotted: key for key in KEYS}
_LIMITS: Final = {each.name for each in fields(Limits)}


def read_config(path: Path | None) -> RelayConfig:
    """Reads and checks the file; defaults if none is named. Raises BadConfig with a sentence that
    says what to change.
    """
    if path is None:
        return RelayConfig()
    values: dict[str, Any] = {}
    limits: dict[str, int] = {}
    for dotted, value in _flatten(_load(path), path).items():
        key = _KEYS.get(dotted)
        if key is None:
            raise BadConfig(
                f"{path}: there is no key {dotted}. `holdfast relay config` prints every key there"
                " is, with what it means."
            )
        (limits if key.name in _LIMITS else values)[key.name] = _read(key, value, path)
    return RelayConfig(**values, limits=Limits(**limits))


def with_web(config: RelayConfig, text: str) -> RelayConfig:
    """The settings with another place for share links; raises BadConfig."""
    host, _, port = text.rpartition(":")
    try:
        if port == "0":  # finds one that is free
            found = _watch(f"{host}:1")
            assert found is not None
            return replace(config, web=(found[0], 0))
        found = _watch(text)
        if found is None:
            raise ValueError
        return replace(config, web=found)
    except (ValueError, TypeError):
        raise BadConfig(f"`--web {text}`: it has to be an address with a port.") from None


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_LENGTH_MAX + 1)
    except OSError as error:
        raise BadConfig(
            f"{path} cannot be read: {error.strerror}. Name another with `--config`, or leave it"
            " out for the defaults."
        ) from error
    if len(data) > CONFIG_LENGTH_MAX:
        raise BadConfig(f"{path} is longer than {CONFIG_LENGTH_MAX >> 10} KiB: is it the file?")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path} is not UTF-8 text: is it the file?") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path} is not TOML: {error}. Correct it there.") from error


def _flatten(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    sections = {key.dotted.split(".")[0] for key in KEYS}
    flat: dict[str, Any] = {}
    for section, content in table.items():
        if section in sections and not isinstance(content, dict):
            raise BadConfig(
                f"{path}: {section} has to be a table: write [{section}] on a line of its own, and"
                " its keys below."
            )
        if isinstance(content, dict):
            flat |= {f"{section}.{name}": value for name, value in content.items()}
        else:
            flat[section] = content
    return flat


def _read(key: Key, value: Any, path: Path) -> Any:
    try:
        return key.read(value)
    except (TypeError, ValueError):
        shown = {True: "true", False: "false"}.get(value) if type(value) is bool else repr(value)
        raise BadConfig(
            f"{path}: {key.dotted} is {str(shown)[:80]}, but allowed is {key.allowed}. Correct it"
            " there, and start the relay again."
        ) from None


def example() -> str:
    """The whole file: every key with its default, what it means and what is allowed."""
    lines = [
        "# relay.toml: what can be set for a relay. Each key stands here with its default, and may",
        "# be left out. Use it by `holdfast relay run --listen HOST:PORT --config relay.toml`.",
    ]
    section = ""
    for key in KEYS:
        table, name = key.dotted.split(".")
        if table != section:
            section = table
            lines += ["", f"[{section}]"]
        text = f"{key.meaning} Allowed: {key.allowed}."
        lines += textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"{name} = {key.default}")
    return "\n".join(lines) + "\n"
