"""What the screen's tables say, from what the daemon answers. Pure.

Every text that leaves here is safe for a terminal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from peer.command_line.terminal import (
    count_files,
    format_moment,
    format_size,
    format_time,
    paused_words,
    term_safe,
)
from peer.status import (
    ConflictEntry,
    DeviceEntry,
    FolderState,
    FolderStatus,
    LinkStatus,
    NoticeEntry,
    RelayEntry,
    SearchEntry,
    Status,
    Totals,
    VersionEntry,
)
from tui.in_keys import in_keys

DAY_CHARACTERS: Final = len("2026-01-31")
"""Of a moment: all that there is room for on 80 columns in some tables."""
SMOOTHING: Final = 0.5
"""How much of a rate is the newest interval: at one look a second, it follows within three."""
IDLE_BYTES_PER_S: Final = 512
"""What devices say to each other at rest is not shown as a transfer."""


class Tone(StrEnum):
    """How something stands; the names are those of the theme's colours."""

    GOOD = "success"
    BUSY = "primary"
    ASKS = "warning"
    BAD = "error"
    QUIET = "foreground-muted"


class Line(NamedTuple):
    """One line of a table."""

    key: str
    cells: tuple[str, ...]
    tone: Tone
    detail: str = ""
    """What is shown below the table while the cursor is on the line."""


_SIGNS: Final[dict[str, tuple[str, Tone]]] = {
    FolderState.OFFERED: ("○", Tone.QUIET),
    FolderState.PAUSED: ("‖", Tone.QUIET),
    FolderState.NO_DISK: ("!", Tone.BAD),
    FolderState.ASKING: ("?", Tone.ASKS),
    FolderState.NO_SPACE: ("!", Tone.BAD),
    FolderState.SCANNING: ("↻", Tone.BUSY),
    FolderState.SYNCING: ("↻", Tone.BUSY),
    FolderState.TROUBLE: ("!", Tone.BAD),
    FolderState.PARTLY_PAUSED: ("‖", Tone.QUIET),
    FolderState.IN_SYNC: ("●", Tone.GOOD),
}

_NOTICE_SIGNS: Final[dict[str, tuple[str, Tone]]] = {
    "trouble": ("!", Tone.BAD),
    "question": ("?", Tone.ASKS),
    "news": ("●", Tone.BUSY),
}

TABS: Final = {
    "folders": "1 Folders", "devices": "2 Devices", "trouble": "3 Not synced",
    "conflicts": "4 Conflicts", "relays": "5 Relays", "news": "6 News", "links": "7 Links",
    "backup": "8 Backup",
}  # fmt: skip
"""Each begins with the key to it. All are to be seen on 80 columns."""

FOLDER_HEADINGS: Final = ("", "folder", "state", "files", "size", "path")
DEVICE_HEADINGS: Final = ("", "device", "state", "way", "round trip", "sent", "received")
TROUBLE_HEADINGS: Final = ("folder", "path", "why")
RELAY_HEADINGS: Final = ("", "relay", "state")
CONFLICT_HEADINGS: Final = ("", "written", "by", "size", "folder", "file")
FOUND_HEADINGS: Final = ("", "folder", "path", "size", "modified")
NOTICE_HEADINGS: Final = ("", "when", "what")
VERSION_HEADINGS: Final = ("version", "path", "size", "written", "by", "until", "where")


def folder_lines(status: Status) -> list[Line]:
    """A line for each folder."""
    return [_folder_line(folder) for folder in status["folders"]]


def _folder_line(folder: FolderStatus) -> Line:
    sign, tone = _SIGNS.get(folder["state"], ("?", Tone.BAD))
    state = folder["state"]
    paused = folder.get("paused_files", 0)
    if (left := folder["need_files"] - paused) > 0 and folder["path"]:
        is_full = state == FolderState.NO_SPACE  # that which is left is for the files, not the disk
        state = f"no space for {count_files(left)}" if is_full else f"{state}, {left} left"
        if folder["need_bytes"]:
            state = f"{state} ({format_size(folder['need_bytes'])})"
    if paused:
        state = f"{state}, {paused_words(folder)}"
    cells = (
        sign, folder["name"], state, str(folder["files"]), format_size(folder["bytes"]),
        shortened(folder["path"]) if folder["path"] else "not on this device",
    )  # fmt: skip
    return Line(folder["id"], _safe(cells), tone)


def shortened(path: str) -> str:
    """A path as a person writes it, from their own directory."""
    own = os.path.expanduser("~")
    return f"~{path[len(own) :]}" if own != "/" and path.startswith(f"{own}/") else path


def device_lines(status: Status, devices: Sequence[DeviceEntry]) -> list[Line]:
    """A line for each of the user's devices, this one first, then those that are connected."""
    links = {link["device"]: link for link in status["links"]}
    order = sorted(devices, key=lambda d: (not d["this"], d["id"] not in links, d["name"]))
    return [_device_line(device, links.get(device["id"])) for device in order]


def device_name(device: DeviceEntry) -> str:
    """What it is called; after a recovery nobody knows a name of those that are lost."""
    return device["name"] or device["id"][:8]


def _device_line(device: DeviceEntry, link: LinkStatus | None) -> Line:
    if device["this"]:
        return Line(
            device["id"], _safe(("●", device_name(device), "this device", *[""] * 4)), Tone.GOOD
        )
    if link is None:
        seen = device["last_seen_s"]
        state = "never seen" if seen is None else f"seen {format_time(seen)} ago"
        return Line(device["id"], _safe(("○", device_name(device), state, *[""] * 4)), Tone.QUIET)
    trip = link["round_trip_s"]
    cells = (
        "●", device_name(device), "connected", f"{link['path']}, {link['kind']}",
        "" if trip is None else format_time(trip), format_size(link["sent_bytes"]),
        format_size(link["received_bytes"]),
    )  # fmt: skip
    return Line(device["id"], _safe(cells), Tone.GOOD)


def trouble_lines(status: Status) -> list[Line]:
    """A line for each path that is not synced, and for each warning."""
    out = []
    for folder in status["folders"]:
        for number, problem in enumerate(folder["errors"]):
            cells = (folder["name"], problem["path"] or "-", problem["reason"])
            detail = term_safe(f"{problem['path']}: {problem['reason']}".removeprefix(": "))
            out.append(Line(f"{folder['id']}-{number}", _safe(cells), Tone.BAD, detail))
        for number, warning in enumerate(folder.get("warnings", [])):
            cells = (folder["name"], "-", in_keys(warning))
            detail = in_keys(warning)
            out.append(Line(f"{folder['id']}-w{number}", _safe(cells), Tone.ASKS, detail))
    return out


def relay_lines(relays: Sequence[RelayEntry]) -> list[Line]:
    """A line for each relay; its whole address, which few terminals have room for, stands below."""
    return [_relay_line(relay) for relay in relays]


def _relay_line(relay: RelayEntry) -> Line:
    place = relay["address"].removeprefix("holdfast-relay://").partition("#")[0]
    is_there = relay["connected"]
    cells = ("●" if is_there else "○", place, "connected" if is_there else relay["problem"])
    detail = term_safe(f"{relay['address']} {relay['problem']}".strip())
    return Line(relay["address"], _safe(cells), Tone.GOOD if is_there else Tone.BAD, detail)


def conflict_lines(conflicts: Sequence[ConflictEntry]) -> list[Line]:
    """A line for each conflict copy, by its path on this machine."""
    return [
        Line(
            one["place"],
            # The mark in a copy's name says by whom it is and when: the file's name has the room.
            _safe(
                (
                    "?",
                    format_moment(one["written_s"])[5:],
                    one["device"] or "-",
                    format_size(one["size"]),
                    one["folder"],
                    one["original"],
                )
            ),
            Tone.ASKS,
            term_safe(one["path"]),
        )
        for one in conflicts
    ]


def notice_lines(notices: Sequence[NoticeEntry]) -> list[Line]:
    """A line for each notice."""
    return [
        Line(
            str(one["id"]),
            _safe((
                "·" if one["read"] else _NOTICE_SIGNS.get(one["priority"], ("?", Tone.BAD))[0],
                format_moment(one["time_s"])[5:], in_keys(one["text"]),
            )),
            Tone.QUIET if one["read"] else _NOTICE_SIGNS.get(one["priority"], ("?", Tone.BAD))[1],
            in_keys(one["text"]),
        )
        for one in notices
    ]  # fmt: skip


def found_lines(found: Sequence[SearchEntry]) -> list[Line]:
    """A line for each file or directory that was found, by its path on this machine."""
    return [_found_line(one) for one in found]


def _found_line(one: SearchEntry) -> Line:
    if one["directory"]:
        return Line(one["place"], _safe(("▸", one["folder"], one["path"], "", "")), Tone.BUSY)
    cells = (
        "·", one["folder"], one["path"], format_size(one["size"]),
        format_moment(int(one["modified_s"] or 0)),
    )  # fmt: skip
    return Line(one["place"], _safe(cells), Tone.QUIET)


def version_lines(versions: Sequence[VersionEntry]) -> list[Line]:
    """A line for each version."""
    out = []
    for one in versions:
        until = "" if one["ended_s"] is None else format_moment(one["ended_s"])
        cells = (
            str(one["version"]) if one["version"] else "now", one["path"],
            format_size(one["size"]), format_moment(one["written_s"]), one["device"] or "-",
            f"{until[:DAY_CHARACTERS]} deleted" if one["deleted"] else until,
            "here" if one["here"] else "away",
        )  # fmt: skip
        tone = Tone.GOOD if not one["version"] else Tone.BUSY if one["here"] else Tone.QUIET
        out.append(Line(str(one["version"]), _safe(cells), tone))
    return out


def question_of(status: Status, folder_id: str | None) -> str:
    """What the folder asks, or the first that asks; empty if none does."""
    asking = [f for f in status["folders"] if f.get("question")]
    asking.sort(key=lambda f: f["id"] != folder_id)
    return in_keys(f"{asking[0]['name']}: {asking[0]['question']}") if asking else ""


def headline(status: Status, rates: Rates, unread: int = 0) -> str:
    """How all of it stands, in one line; `unread`: notices that nobody has read."""
    folders = [f for f in status["folders"] if f["state"] != FolderState.OFFERED]
    well = sum(f["state"] == FolderState.IN_SYNC for f in folders)
    if not status["folders"]:
        state = "no folders yet"
    elif well == len(folders):
        state = f"{well} of {len(folders)} in sync" if folders else "nothing on this device yet"
    else:
        worst = next(f for f in folders if f["state"] != FolderState.IN_SYNC)
        state = f"{well} of {len(folders)} in sync, {worst['name']}: {worst['state']}"
    links = len(status["links"])
    connected = f"{links} device{'' if links == 1 else 's'} connected"
    news = [f"{unread} unread"] if unread else []
    words = [status["device"]["name"], state, connected, *news, *rates.words()]
    return term_safe(" · ".join(words))


@dataclass(slots=True)
class Rates:
    """Bytes a second over all links, smoothed."""

    sent: float = 0.0
    received: float = 0.0
    _totals: Totals | None = None
    _at_s: float = 0.0

    def note(self, totals: Totals, now_s: float) -> None:
        """So much had moved at this time; numbers that fall belong to a daemon that began anew."""
        before, passed_s = self._totals, now_s - self._at_s
        self._totals, self._at_s = totals, now_s
        if before is None or passed_s <= 0:
            return
        sent = max(0, totals["sent_bytes"] - before["sent_bytes"]) / passed_s
        received = max(0, totals["received_bytes"] - before["received_bytes"]) / passed_s
        self.sent += (sent - self.sent) * SMOOTHING
        self.received += (received - self.received) * SMOOTHING

    def words(self) -> list[str]:
        """What is moving, for the headline."""
        return [
            f"{arrow} {format_size(rate)}/s"
            for arrow, rate in (("↑", self.sent), ("↓", self.received))
            if rate > IDLE_BYTES_PER_S
        ]


def _safe(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(term_safe, cells))
