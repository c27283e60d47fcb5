"""The router of this network, and this machine's address towards it. It knows systems."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, NamedTuple

ROUTES: Final = Path("/proc/thread-self/net/route")
COMMAND_TIMEOUT_S: Final = 2.0
_IS_GATEWAY: Final = 0x2
_IS_UP: Final = 0x1
_GATEWAY_LINE: Final = re.compile(r"^\s*gateway: ([0-9.]+)$", re.MULTILINE)


class Gateway(NamedTuple):
    """IPv4 only: with IPv6 there is no translation, and firewalls are opened by punching."""

    host: str
    """The router's address on this network."""
    own_host: str
    """Where it sees this machine."""


def find_gateway() -> Gateway | None:
    """Where datagrams for the internet go first; None without such a way."""
    try:
        if sys.platform == "linux":
            host = read_routes(ROUTES.read_text().splitlines())
        else:
            host = _ask_route()
    except (OSError, subprocess.SubprocessError):
        return None
    if host is None:
        return None
    own_host = own_host_towards(host)
    return Gateway(host, own_host) if own_host is not None else None


def own_host_towards(host: str) -> str | None:
    """Which of this machine's addresses is used towards that one now; None if it has no way."""
    with socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
    ) as udp:
        try:
            udp.connect((host, 9))  # sends nothing: it asks the system
        except OSError:
            return None
        own_host: str = udp.getsockname()[0]
        return own_host


def read_routes(lines: Iterable[str]) -> str | None:
    """The default route with the lowest metric in Linux's table."""
    best: tuple[int, str] | None = None
    for line in lines:
        words = line.split()
        if len(words) < 8 or words[1] != "00000000" or words[7] != "00000000":
            continue
        try:
            flags, metric = int(words[3], 16), int(words[6])
            host = str(IPv4Address(struct.pack("=I", int(words[2], 16))))
        except (ValueError, struct.error):
            continue
        if flags & _IS_GATEWAY and flags & _IS_UP and (best is None or metric < best[0]):
            best = metric, host
    return best[1] if best else None


def _ask_route() -> str | None:
    """The same on macOS, which has no such file."""
    done = subprocess.run(
        ["/sbin/route", "-n", "get", "default"],
        capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S,
    )  # fmt: skip
    found = _GATEWAY_LINE.search(done.stdout)
    return found[1] if found else None
