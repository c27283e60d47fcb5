"""The tab of copies at super-nodes: how they stand, and where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from peer.command_line.terminal import format_moment, format_size, format_time, term_safe
from peer.control.control_client import suiting_scheme
from peer.errors import PeerError
from peer.status import BackupEntry, BackupNode
from tui.daemon import Daemon
from tui.dialogs import Ask, Confirm, Field
from tui.pane import Pane
from tui.rows import DAY_CHARACTERS, Line, Tone
from tui.watch import Seen

BACKUP_HEADINGS: Final = ("", "copies of", "health", "state", "shares", "size", "stored until")
NO_BACKUPS: Final = "No copies at super-nodes. Press a to keep a folder there."
SCHEME_WORDS: Final = "K/N: any K of N shares bring it back; nothing: what suits so many"
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

    def those(is_meant: Callable[[BackupEntry], object]) -> str:
        return ", ".join(one["folder"] for one in backups if is_meant(one))

    told = "Nothing is at risk."
    if names := those(lambda one: one["health"] in ("at risk", "lost")):
        told = f"At risk: {names}."
    elif names := those(lambda one: one["state"] not in ("up to date", "watching")):
        told = f"What is stored is not at risk, but not all of {names} may be stored yet."
    elif names := those(lambda one: one["health"] == "degraded"):
        told = f"Every file can be brought back, but copies are missing of {names}."
    elif names := those(lambda one: one["warnings"]):
        told = f"Every file is stored as asked, but the copies of {names} have a weakness."
    kit = "" if has_kit else " This device keeps no recovery kit: `holdfast kit print`."
    return term_safe(f"{told}{kit}")


def scheme_of(text: str, nodes: int) -> tuple[int, int] | None:
    """What was typed for so many nodes; None if it is no scheme."""
    if not text:
        return suiting_scheme(nodes)
    needed, _, count = text.partition("/")
    is_scheme = needed.isascii() and needed.isdigit() and count.isascii() and count.isdigit()
    return (int(needed), int(count)) if is_scheme else None


class BackupsPane(Pane):
    """The copies at super-nodes, which are asked for when somebody looks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add", tooltip="Keep a folder at super-nodes from now on"),
        Binding("m", "repair", "Mend", tooltip="Look at all copies now, store what is missing"),
        Binding("d", "remove", "Remove", tooltip="Keep a folder there no more"),
    ]

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

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        if action == "add":
            return any(one["path"] is not None for one in self.seen.folders)
        return self._backup() is not None if action in ("repair", "remove") else True

    def _backup(self) -> BackupEntry | None:
        """The copies that the person is on; a node is its folder's."""
        known = [] if self.seen.backups is None else self.seen.backups["backups"]
        chosen = (self.chosen or "").partition("/")[0]
        return next((one for one in known if one["id"] == chosen), None)

    def action_add(self) -> None:
        """A folder more, likely the first that is not kept, at the relays of this device."""
        known = [] if self.seen.backups is None else self.seen.backups["backups"]
        kept = {one["id"] for one in known}
        here = [one for one in self.seen.folders if one["path"] is not None]
        here.sort(key=lambda one: one["id"] in kept)
        fields = [
            Field("folder", "The folder", here[0]["name"] if here else ""),
            Field("nodes", "Super-nodes, with commas between", ",".join(
                one["address"] for one in self.seen.relays)),
            Field("scheme", SCHEME_WORDS, is_optional=True),
        ]  # fmt: skip
        self.app.push_screen(Ask("Keep copies at super-nodes", fields, "Keep"), self._add)

    def _add(self, values: dict[str, str] | None) -> None:
        if values is None:
            return
        nodes = [one.strip() for one in values["nodes"].split(",") if one.strip()]
        scheme, folder = scheme_of(values["scheme"].strip(), len(nodes)), values["folder"].strip()
        if scheme is None:
            self.app.notify(f"{SCHEME_WORDS}.", severity="error", markup=False)
        else:
            self.carry_out(
                self._daemon.add_backup(folder, nodes, scheme),
                f"{folder} is kept at {len(nodes)} super-nodes from now on.",
            )

    def action_repair(self) -> None:
        """What is missing is stored anew, at once."""
        one = self._backup()
        if one is not None:
            self.app.notify("All copies are looked at…")
            self.run_worker(self._repair(one["id"]), group="repair", exclusive=True)

    async def _repair(self, folder: str) -> None:
        try:
            made = await self._daemon.repair_backup(folder)
        except PeerError as error:
            self.tell(error)
            return
        if self.is_attached:
            told = [f"{made['rebuilt']} shares were made again."]
            if made["lacking"]:
                told.append(f"{made['lacking']} packs lack shares still: name more super-nodes.")
            told += [f"Could not be reached: {address}" for address in made["away"]]
            self.app.notify(term_safe(" ".join(told)), markup=False)
            self.post_message(self.Acted())

    def action_remove(self) -> None:
        """A folder less."""
        one = self._backup()
        if one is None:
            return
        folder, name = one["id"], term_safe(one["folder"])

        def remove(is_meant: bool | None) -> None:
            if is_meant:
                said = f"{name} is kept up at super-nodes no more."
                self.carry_out(self._daemon.remove_backup(folder), said)

        question = f"Keep {name} at super-nodes no more? What is there goes within 90 days."
        self.app.push_screen(Confirm(question, "Remove"), remove)


def _safe(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(term_safe, cells))
