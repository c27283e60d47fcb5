"""Entries of the audit trail in words, for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

PATHS_SHOWN: Final = 3
_PLAIN: Final = {
    "started": "The daemon started.",
    "stopped": "The daemon stopped.",
}
_ASKED: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "/api/sync/pause": lambda w: f"Paused {w.get('folder', 'all folders')}.",
    "/api/sync/resume": lambda w: f"Resumed {w.get('folder', 'all folders')}.",
    "/api/sync/transfers/pause": lambda w: f"Paused {w.get('path')} on its way here.",
    "/api/sync/transfers/resume": lambda w: f"Let {w.get('path')} go on coming here.",
    "/api/sync/answer": lambda w: f"Answered {w.get('folder')}: {w.get('answer')}.",
    "/api/sync/conflict/resolve": lambda w: (
        f"Kept {w.get('keep')} of the conflict {w.get('path')}."
    ),
    "/api/users/login": lambda w: "Gave a token to who knew the passphrase.",
    "/api/folders/create": lambda w: f"Added the folder {w.get('name')} on {w.get('path')}.",
    "/api/folders/attach": lambda w: f"Put the folder {w.get('folder')} on {w.get('path')}.",
    "/api/folders/remove": lambda w: f"Removed the folder {w.get('folder')} from this device.",
    "/api/folders/restore": lambda w: (
        f"Asked what would bring {w.get('path')} back to an earlier time."
        if w.get("dry_run")
        else f"Brought {w.get('path')} back to an earlier time."
    ),
    "/api/versions/restore": lambda w: (
        f"Put an earlier version of {w.get('path')} at {w.get('to')}."
        if w.get("to")
        else f"Brought an earlier version of {w.get('path')} back."
    ),
    "/api/devices/invite": lambda w: "Invited another device.",
    "/api/devices/remove": lambda w: f"Asked to put the device {w.get('device')} out.",
    "/api/links/create": lambda w: f"Made a share link of {w.get('path')}.",
    "/api/links/request": lambda w: f"Made an upload link into {w.get('path')}.",
    "/api/links/revoke": lambda w: f"Revoked the share link {w.get('link')}.",
    "/api/relays/add": lambda w: f"Added the relay {w.get('address')}.",
    "/api/backups/add": lambda w: f"Had {w.get('folder')} kept at super-nodes.",
    "/api/backups/repair": lambda w: f"Had the copies of {w.get('folder')} repaired.",
    "/api/backups/remove": lambda w: f"Had {w.get('folder')} kept at super-nodes no more.",
    "/api/kit": lambda w: "Had the recovery kit checked.",
    "/api/relays/remove": lambda w: f"Removed the relay {w.get('address')}.",
}


def sentence(entry: Mapping[str, Any]) -> str:
    """What the entry says."""
    what = str(entry.get("what"))
    if what in _PLAIN:
        return _PLAIN[what]
    match what:
        case "files":
            return f"{entry.get('folder')}: {_files(entry)}"
        case "asked":
            path, given = str(entry.get("path")), entry.get("with", {})
            known = _ASKED.get(path)
            return known(given) if known is not None else f"Asked the daemon for {path}."
        case "joined":
            return f"The device {entry.get('name') or entry.get('joined', '')[:8]} is one of yours."
        case "removed":
            name = entry.get("name") or entry.get("removed", "")[:8]
            return f"The device {name} is none of yours any more."
        case "offered":
            return f"The folder {entry.get('folder') or 'without a name yet'} is offered."
        case "setting":
            return f"{entry.get('key')} is {entry.get('value')} now."
        case "received":
            label = entry.get("label") or "somebody unnamed"
            return f"{entry.get('folder')}: {entry.get('path')} came from {label} by a link."
        case "lost":
            return f"{entry.get('count')} entries are missing: the disk did not take them."
        case "repaired" | "contradicted":
            return str(entry.get("found"))
    return what


def _files(entry: Mapping[str, Any]) -> str:
    counts, paths = entry.get("counts", {}), entry.get("paths", {})
    said = []
    for what, count in counts.items():
        shown = [_path(path) for path in paths.get(what, [])[:PATHS_SHOWN]]
        rest = count - len(shown)
        more = f" and {rest} more" if rest and shown else ""
        said.append(f"{what} {', '.join(shown) or count}{more}")
    return "; ".join(said) or "nothing"


def _path(path: object) -> str:
    return " -> ".join(map(str, path)) if isinstance(path, list) else str(path)
