"""The screen of one file's versions, or of what was deleted from a directory."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input, Static

from peer.command_line.terminal import NO_EARLIER, format_size, term_safe
from peer.errors import PeerError, UnknownFile
from peer.status import RestoreReport, VersionEntry
from tui.daemon import READ_MAX, Daemon
from tui.dialogs import Ask, Confirm, Field
from tui.diff import Row, compare, text_of
from tui.diff_view import DiffView
from tui.key_line import KeyLine
from tui.listing import Listing
from tui.rows import VERSION_HEADINGS, version_lines

HELP: Final = (
    "A file shows what it was; a directory shows what was deleted from it. Enter restores."
    " The numbers are of all files of the folder."
)


class VersionsScreen(Screen[None]):
    """Names a path, shows its versions and brings one back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "restore", "Restore", tooltip="Put the chosen version back where it was"),
        Binding("o", "restore_to", "Restore to…", tooltip="Put it at another path"),
        Binding("p", "edit_path", "Other path", tooltip="Look at another file or directory"),
        Binding("escape", "app.pop_screen", "Back"),
    ]

    def __init__(self, daemon: Daemon, path: str) -> None:
        super().__init__()
        self._daemon, self._path = daemon, path
        self._versions: list[VersionEntry] = []
        self._place = self._root = ""
        self._is_directory = False
        self._list = Listing(VERSION_HEADINGS, "There are no versions.", id="versions")
        self._told = Static(HELP, id="detail", markup=False)
        self._preview = DiffView(id="preview")

    def compose(self) -> ComposeResult:
        """The path, its versions, and what to do with them."""
        yield Input(
            self._path, placeholder="A file, or a directory", id="path", select_on_focus=False
        )
        yield self._list
        yield self._told
        yield self._preview
        yield KeyLine()

    def on_mount(self) -> None:
        """The versions of the path that it was opened with."""
        self._list.focus()
        self._look()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Another path."""
        self._path = event.value
        self._list.focus()
        self._look()

    def on_listing_moved(self) -> None:
        """Another version: what it holds."""
        self.run_worker(self._look_into(), group="preview", exclusive=True)

    async def _look_into(self) -> None:
        """Shows a version beside what is there now; what is deleted, alone."""
        chosen = self._chosen()
        rows: list[Row] = []
        told = HELP
        if self._versions and not any(one["version"] for one in self._versions):
            told = NO_EARLIER
        if chosen is not None and chosen["version"]:
            place = Path(self._root, chosen["path"]) if self._is_directory else Path(self._place)
            try:
                rows, told = await self._compared(place, chosen)
            except PeerError as error:
                told = term_safe(str(error))
        if self.is_attached:
            self._told.update(told)
            self._preview.show(rows)
            self._preview.set_class(bool(rows), "filled")

    async def _compared(self, place: Path, chosen: VersionEntry) -> tuple[list[Row], str]:
        if chosen["size"] > READ_MAX:
            return [], f"It is too large to be shown here: {format_size(chosen['size'])}."
        seen = await self._daemon.read_version(place, chosen["version"])
        old, new = text_of(b64decode(seen["data"])), None
        if old is None:
            return [], f"It is no text: {format_size(seen['size'])}."
        if not chosen["deleted"]:
            try:
                entry = await self._daemon.file_at(place)
            except UnknownFile:
                entry = None
            if entry is not None and entry["type"] == "file" and entry["size"] <= READ_MAX:
                is_empty = not entry["size"]
                new = text_of(b"" if is_empty else await self._daemon.read_file(entry["id"]))
        if new is None:
            return compare(old, old).rows, f"What version {chosen['version']} holds:"
        told = f"Version {chosen['version']} (-) beside what is there now (+):"
        return (await asyncio.to_thread(compare, old, new)).rows, told

    def on_listing_chosen(self) -> None:
        """Enter, or a second click, on a version."""
        self.action_restore()

    def action_edit_path(self) -> None:
        """Type another path."""
        self.query_one(Input).focus()

    def action_restore(self) -> None:
        """Bring the chosen version back to where it was."""
        chosen = self._chosen()
        if chosen is None or not chosen["version"]:
            return
        question = f"Put version {chosen['version']} back as {term_safe(chosen['path'])}?"
        self.app.push_screen(Confirm(question, "Restore", is_harmless=True), self._on_confirmed)

    def action_restore_to(self) -> None:
        """Bring the chosen version to another path."""
        if self._chosen() is not None:
            field = Field("to", "A path at which nothing is", f"{self._path}.restored")
            self.app.push_screen(Ask("Restore to", [field], "Restore"), self._on_named)

    # ------------------------------------------------------------ with the daemon

    def _chosen(self) -> VersionEntry | None:
        key = self._list.chosen
        return next((v for v in self._versions if str(v["version"]) == key), None)

    def _on_confirmed(self, is_meant: bool | None) -> None:
        chosen = self._chosen()
        if is_meant and chosen is not None:
            self.run_worker(self._restore(chosen, None))

    def _on_named(self, values: dict[str, str] | None) -> None:
        chosen = self._chosen()
        if values is not None and chosen is not None:
            self.run_worker(self._restore(chosen, Path(values["to"]).expanduser()))

    def _look(self) -> None:
        self.run_worker(self._show(), exclusive=True)

    async def _show(self) -> None:
        try:
            found, self._is_directory = await self._daemon.versions(self._path)
        except PeerError as error:
            self.notify(term_safe(str(error)), severity="error", markup=False)
            return
        if not self.is_attached:
            return  # the person has left meanwhile
        self._versions, self._root = found["versions"], found["root"]
        self._place = found["path"]
        self._list.show(version_lines(self._versions))

    async def _restore(self, version: VersionEntry, out: Path | None) -> None:
        path = Path(self._root, version["path"]) if self._is_directory else Path(self._place)
        try:
            report = await self._daemon.restore(path, version["version"], out)
        except PeerError as error:
            self.notify(term_safe(str(error)), severity="error", markup=False)
            return
        self._tell(report)
        await self._show()

    def _tell(self, report: RestoreReport) -> None:
        for path in report["restored"]:
            self.notify(term_safe(f"Brought back {path}."), markup=False)
        for problem in report["failed"]:
            text = f"{problem['path']}: {problem['reason']}"
            self.notify(term_safe(text), severity="error", markup=False)
