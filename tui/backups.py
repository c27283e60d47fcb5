"""The tab of copies at super-nodes: how they stand, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from peer.command_line.terminal import format_moment, format_size, format_time, term_safe
from peer.status import BackupEntry, BackupNode
from tui.daemon import Daemon
from tui.pane import Pane
from tui.rows import DAY_CHARACTERS, Line, Tone
from tui.watch import Seen

BACKUP_HEADINGS: Final = ("", "copies of", "health", "state", "shares", "size", "stored until")
NO_BACKUPS: Final = "No copies at super-nodes. `holdfast backup add FOLDER --nodes A,B,...` begins."
_TONES: Final = {
    "healthy": ("●", Tone.GOOD),
    "degraded": ("●", Tone.ASKS),
    "at risk": ("!", Tone.BAD),
    "lost": ("!", Tone.BAD),
}


def backup_lines(backups: Sequence[BackupEntry]) -> list[Line]:
    """A line for each folder, and below it one for each of its nodes."""
    out: list[Line] = []
    for one in backups:
        out.append(_folder(one))
        out += [_node(one["id"], node) for node in one["nodes"]]
    return out


def _folder(one: BackupEntry) -> Line:
    sign, tone = _TONES.get(one["health"], ("○", Tone.QUIET))
    until_s = one["stored_until_s"]
    until = "not yet" if until_s is None else format_moment(until_s)[:DAY_CHARACTERS]
    cells = (
        sign, f"{one['folder']} ({one['scheme']})", one["health"] or "empty", one["state"],
        f"{one['packs']} packs", format_size(one["stored_bytes"]), until,
    )  # fmt: skip
    detail = [
        f"{one['healthy']} packs healthy, {one['degraded']} degraded, {one['at_risk']} at risk,"
        f" {one['lost']} lost."
    ]
    if one["unverified_s"] is not None:
        detail.append(f"All of it was found right within {format_time(one['unverified_s'])}.")
    if one["sampled_leaves"]:
        wrong = one["sampled_wrong"]
        detail.append(
            f"Of what is new {one['sampled_leaves']} samples were fetched back,"
            f" {f'{wrong} of them wrong' if wrong else 'all right'}."
        )
    detail += [one["problem"], *one["warnings"]]
    return Line(one["id"], _safe(cells), tone, term_safe(" ".join(filter(None, detail))))


def _node(folder_id: str, node: BackupNode) -> Line:
    host = node["address"].removeprefix("holdfast-relay://").partition("#")[0]
    where = ", ".join(filter(None, (node["owner"], node["region"])))
    cells = (
        "●" if node["connected"] else "○", f"  {host}",
        "connected" if node["connected"] else "away", where, f"{node['shares']} shares",
        f"{format_size(node['free_bytes'])} free", "",
    )  # fmt: skip
    tone = Tone.GOOD if node["connected"] else Tone.BAD
    detail = f"{node['address']} {node['problem']}".strip()
    return Line(f"{folder_id}/{node['address']}", _safe(cells), tone, term_safe(detail))


def summary(backups: Sequence[BackupEntry], has_kit: bool) -> str:
    """What all of them come to, in a sentence."""
    if not backups:
        return ""
    bad = [one["folder"] for one in backups if one["health"] in ("at risk", "lost")]
    told = f"At risk: {', '.join(bad)}." if bad else "Nothing is at risk."
    kit = "" if has_kit else " This device keeps no recovery kit: `holdfast kit print`."
    return term_safe(f"{told}{kit}")


class BackupsPane(Pane):
    """The copies at super-nodes, which are asked for when somebody looks."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, BACKUP_HEADINGS, NO_BACKUPS, "backup-list")

    def lines(self, seen: Seen) -> Sequence[Line]:
        """A line for each folder, and for each node of its."""
        return [] if seen.backups is None else backup_lines(seen.backups["backups"])

    def draw(self, seen: Seen) -> None:
        """What all of them come to stands below; until somebody has looked, nothing does."""
        if seen.backups is not None:
            super().draw(seen)
            told = summary(seen.backups["backups"], seen.backups["kit"])
            self.listing.tell(told or NO_BACKUPS)

    def open(self) -> None:
        """Asks for them."""
        super().open()
        self.post_message(self.Acted())


def _safe(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(term_safe, cells))
