"""What is said of share links and upload links, in the lists of commands and screen.

Not all of it is safe for a terminal: names, places and senders' labels are others' words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peer.command_line.terminal import count_files, format_moment, format_size

Link = Mapping[str, Any]
"""A LinkEntry or UploadLinkEntry of the control API."""


def name_of(link: Link) -> str:
    """What it is called, and which other device has made it."""
    return f"{link['name']} (on {link['device']})" if link["device"] else link["name"]


def elsewhere(link: Link) -> str:
    """What this device does not know of a link that another one has made, and why; nothing of its
    own.
    """
    if not link["device"]:
        return ""
    if "files_max" in link:
        return f"Made on {link['device']}: what is put in comes there, as its key alone opens that."
    return f"Made on {link['device']}: the relay tells that device alone how often it was used."


def downloads(link: Link) -> str:
    """How often a share link was used, and how often it may be."""
    return _of(link["downloads"], link["downloads_max"])


def files_come(link: Link) -> str:
    """How many files have come by an upload link, and how many may."""
    return _of(link["files"], link["files_max"])


def size_of(link: Link) -> str:
    """What it gives, or what has come by it."""
    return "?" if link["bytes"] is None else format_size(link["bytes"])


def allowed(link: Link) -> str:
    """What may come by an upload link."""
    size, most = format_size(link["bytes_max"]), link["file_bytes_max"]
    each = f", each up to {format_size(most)}" if most < link["bytes_max"] else ""
    return f"up to {count_files(link['files_max'])} and {size}{each}"


def terms(link: Link) -> str:
    """Until when, how often, and by what it opens."""
    until = f"until {format_moment(link['expires_s'])}" if link["expires_s"] else "for ever"
    often = f", for {link['downloads_max']} downloads" if link.get("downloads_max") else ""
    return f"{until}{often}{', with a password' if link['has_password'] else ''}."


def come(link: Link) -> list[str]:
    """What has come by an upload link from whom, the latest first."""
    return [
        f"{count_files(sender['files'])}, {format_size(sender['bytes'])}, from"
        f" {sender['label'] or 'somebody unnamed'}, {format_moment(sender['came_s'])}"
        for sender in link["senders"]
    ]


def lacking(link: Link) -> list[str]:
    """What has not come by an upload link, and why."""
    lines = []
    if link["waiting"]:
        lines.append(f"{count_files(link['waiting'])} not fetched yet.")
    if link["refused"]:
        lines.append(f"{link['refused']} not taken; `holdfast notifications` says why.")
    if link["problem"]:
        lines.append(link["problem"])
    return lines


def _of(count: int | None, most: int) -> str:
    had = "?" if count is None else str(count)
    return f"{had} of {most}" if most else had
