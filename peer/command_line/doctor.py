"""Finds what keeps Holdfast from working on this machine, and says the cure. It changes nothing."""

import asyncio
import os
import resource
import shutil
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from peer.control.control_client import ControlClient
from peer.device.config import Address, format_address, read_config
from peer.errors import DaemonNotRunning, PeerError
from peer.journal.desktop import KEY as DESKTOP_KEY
from peer.journal.desktop import Desktop, DesktopFailed
from peer.status import FolderState

INOTIFY_DIRECTORY = Path("/proc/sys/fs/inotify")
WATCHES_MIN = 65_536
"""One watch a directory: what a large source tree has, several times over."""
FREE_BYTES_MIN = 1 << 30
FILES_MIN = 1024
"""Open files at once: sockets, databases and a few files under way; far below what systems give."""
SQLITE_MIN = (3, 35, 0)
"""RETURNING."""
RELEASED_S = 1_764_547_200
"""2025-12-01: a clock that shows an earlier time was never set."""
TROUBLES = (FolderState.NO_DISK, FolderState.NO_SPACE, FolderState.TROUBLE)
"""A socket that is skipped is told by `status`, and is no trouble."""
UDP_LEVEL, UDP_SEGMENT = 17, 103
NO_DAEMON = "Not known while the daemon does not run."
NO_CONFIG = "Not known until the configuration is valid."
UNKNOWN = (NO_DAEMON, NO_CONFIG)


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    is_well: bool
    finding: str
    cure: str | None = None

    @property
    def word(self) -> str:
        """How it is, at a glance; nothing where that is not known."""
        return "trouble" if not self.is_well else "" if self.finding in UNKNOWN else "ok"


def examine(home: Path) -> list[Check]:
    """Look at everything that is known to go wrong; takes well under a second."""
    checks: tuple[Callable[[Path], Check], ...] = (
        check_python,
        check_sqlite,
        check_home,
        check_config,
        check_daemon,
        check_port,
        check_disk,
        check_folders,
        check_relays,
        check_files,
        check_clock,
        check_watches,
        check_open_files,
        check_segmentation,
        check_desktop,
    )
    return [check(home) for check in checks]


def check_python(home: Path) -> Check:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), version, "Install Python 3.11 or newer.")


def check_sqlite(home: Path) -> Check:
    """The version of the SQLite that this Python was built with."""
    is_new_enough = sqlite3.sqlite_version_info >= SQLITE_MIN
    cure = "Use a Python that was built with SQLite 3.35 or newer."
    return Check("SQLite", is_new_enough, sqlite3.sqlite_version, None if is_new_enough else cure)


def check_home(home: Path) -> Check:
    """Whether the home is there, ours, and nobody else's to read."""
    try:
        status = home.stat()
    except FileNotFoundError:
        return Check("home", True, f"{home} is not made yet; `holdfast init` or `join` makes it.")
    except OSError as error:
        return Check("home", False, f"{home}: {error.strerror}.", "Choose another with --home.")
    if not stat.S_ISDIR(status.st_mode):
        return Check("home", False, f"{home} is no directory.", "Choose another with --home.")
    if status.st_uid != os.getuid():
        return Check("home", False, f"{home} belongs to another user.", "Run as that user.")
    for path in (home, home / "key"):
        if path.exists() and path.stat().st_mode & 0o077:
            return Check("home", False, f"Others can read {path}.", f"chmod go= {path}")
    return Check("home", True, f"{home} is private.")


def check_config(home: Path) -> Check:
    """Whether the configuration is valid."""
    try:
        read_config(home / "config.toml")
    except PeerError as error:
        return Check("configuration", False, str(error), f"Correct {home / 'config.toml'}.")
    return Check("configuration", True, "valid")


def check_daemon(home: Path) -> Check:
    """Whether the daemon runs, where there is a device for it."""
    name = "daemon"
    if not (home / "key").exists():
        return Check(name, True, "There is no device here yet that it could run for.")
    try:
        ControlClient(home, timeout_s=5).status()
    except DaemonNotRunning:
        cure = "`holdfast run`; `holdfast service install` has it run whenever you are logged in."
        return Check(name, False, "It does not run, so nothing is synced.", cure)
    except PeerError as error:
        return Check(name, False, str(error), "Look into its log.")
    return Check(name, True, "It runs.")


def check_port(home: Path) -> Check:
    """Whether the daemon listens already, or could listen where it is configured to."""
    try:
        ControlClient(home, timeout_s=5).status()
    except PeerError:
        pass
    else:
        return Check("port", True, "The daemon runs and listens.")
    try:
        addresses = read_config(home / "config.toml").listen
    except PeerError:
        return Check("port", True, NO_CONFIG)
    for address in addresses:
        reason = _why_not_bound(address)
        if reason is not None:
            finding = f"{format_address(address)}: {reason}."
            cure = "Stop the program that uses it, or set another with network.listen."
            return Check("port", False, finding, cure)
    return Check("port", True, f"{', '.join(map(format_address, addresses))}: free.")


def _why_not_bound(address: Address) -> str | None:
    """Bind the address for UDP and for TCP and let it go; None when both went well."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        try:
            with socket.socket(family, kind) as endpoint:
                if family == socket.AF_INET6:
                    endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind == socket.SOCK_STREAM:
                    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                endpoint.bind(address)
        except OSError as error:
            if family == socket.AF_INET6 and address[0] == "::":
                continue  # A machine without IPv6; the daemon goes on without it as well.
            return (error.strerror or str(error)).lower()
    return None


def check_disk(home: Path) -> Check:
    """The free space where the home is, or will be."""
    place = home
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    finding = f"{free_bytes / 1e9:.1f} GB free at {place}"
    cure = "Make room: databases and kept versions need some."
    is_enough = free_bytes >= FREE_BYTES_MIN
    return Check("disk", is_enough, finding, None if is_enough else cure)


def check_folders(home: Path) -> Check:
    """Whether each folder is synced, or what keeps it from that: a disk that is full or gone."""
    try:
        folders = ControlClient(home, timeout_s=5).status()["folders"]
    except PeerError:
        return Check("folders", True, NO_DAEMON)
    found = [
        (folder["name"], error)
        for folder in folders
        for error in folder["errors"][:1]
        # What has no path is the folder's own trouble, whatever it is busy with just now.
        if folder["state"] in TROUBLES or not folder["errors"][-1]["path"]
    ]
    if not found:
        return Check("folders", True, "Nothing keeps a file from being synced.")
    name, first = found[0]
    where = f"{name}/{first['path']}"
    others = len(found) - 1
    more = f" So it is with {others} more folder{'s' * (others > 1)}." if others else ""
    cure = "`holdfast status` lists what is not synced, with its reason and what to do."
    return Check("folders", False, f"{where}: {first['reason']}{more}", cure)


def check_relays(home: Path) -> Check:
    """Whether the relays of this device are reached."""
    try:
        relays = ControlClient(home, timeout_s=5).relays()["relays"]
    except PeerError:
        return Check("relays", True, NO_DAEMON)
    lost = [relay for relay in relays if not relay["connected"]]
    if not lost:
        return Check("relays", True, f"{len(relays)} reached" if relays else "none is used")
    finding = f"{lost[0]['address'].partition('#')[0]}: {lost[0]['problem']}"
    cure = (
        "See that this device is online and that the relay runs, or `holdfast relay remove` it;"
        " `holdfast relay list` shows all."
    )
    return Check("relays", False, finding, cure)


def check_files(home: Path) -> Check:
    """Whether a disk was found to change files by itself."""
    try:
        folders = ControlClient(home, timeout_s=5).status()["folders"]
    except PeerError:
        return Check("files", True, NO_DAEMON)
    damaged = {f["name"]: f["damaged_files"] for f in folders if f.get("damaged_files")}
    if not damaged:
        return Check("files", True, "No disk was found to have changed files by itself.")
    found = ", ".join(f"{count} in {name}" for name, count in damaged.items())
    cure = (
        "`holdfast status` says whether they were brought back. Copy what is only on that disk, and"
        " look at its health (smartctl) before you trust it."
    )
    return Check("files", False, f"The disk has changed files by itself: {found}.", cure)


def check_clock(home: Path) -> Check:
    """Whether the clock was ever set; it names conflict copies and ages versions, it decides
    nothing.
    """
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
    if now < RELEASED_S:
        return Check("clock", False, f"It shows {shown}.", "Set the clock, or turn on NTP.")
    return Check("clock", True, shown)


def check_watches(home: Path) -> Check:
    """How many directories the system lets one user watch."""
    try:
        watches = int((INOTIFY_DIRECTORY / "max_user_watches").read_text())
    except (OSError, ValueError):
        return Check("watches", True, "This system sets no limit that can be read.")
    if watches >= WATCHES_MIN:
        return Check("watches", True, f"{watches} directories can be watched.")
    finding = f"Only {watches} directories can be watched; changes elsewhere wait for a rescan."
    return Check("watches", False, finding, "sudo sysctl fs.inotify.max_user_watches=524288")


def check_open_files(home: Path) -> Check:
    """How many files this process may have open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_MIN:
        return Check("open files", True, "enough")
    return Check("open files", False, f"Only {soft} at once.", f"ulimit -n {FILES_MIN}")


def check_segmentation(home: Path) -> Check:
    """Whether the kernel cuts datagrams for us; without it QUIC links are slower, and no
    trouble.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        try:
            endpoint.setsockopt(UDP_LEVEL, UDP_SEGMENT, 1200)
        except OSError:
            return Check("UDP segmentation", True, "not offered here; QUIC links are slower")
    return Check("UDP segmentation", True, "offered")


def check_desktop(home: Path) -> Check:
    """Whether what should be shown on the desktop can be, as far as it is seen from here."""
    name = "desktop"
    try:
        is_on = read_config(home / "config.toml").notice_desktop
    except PeerError:
        return Check(name, True, NO_CONFIG)
    if not is_on:
        return Check(name, True, f"Nothing is shown on it; {DESKTOP_KEY} = true has it shown.")

    async def look() -> None:
        session = Desktop("")
        try:
            await session.look()
        finally:
            session.close()

    try:
        asyncio.run(look())
    except DesktopFailed as error:
        reason = str(error)
        cure = f"Cure that, or `holdfast config set {DESKTOP_KEY} false`."
        return Check(name, False, f"{reason[:1].upper()}{reason[1:]}", cure)
    return Check(name, True, "Notices are shown on it.")
