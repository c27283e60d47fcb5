"""The tab of folders, with what is on its way below them; folders are added, attached, paused and
removed here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from peer.command_line.terminal import term_safe
from peer.status import FolderState, FolderStatus, TransferEntry
from tui.daemon import Daemon
from tui.dialogs import Ask, Confirm, Field
from tui.listing import Listing
from tui.pane import Pane
from tui.rows import FOLDER_HEADINGS, Line, folder_lines
from tui.transfers import TRANSFER_HEADINGS, Speeds, done_of, key_of, transfer_lines
from tui.versions import VersionsScreen
from tui.watch import Seen

NO_FOLDERS: Final = "No folders yet. Press a to sync one."


class FoldersPane(Pane):
    """The user's folders."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add", tooltip="Sync a directory of this device"),
        Binding("t", "attach", "Attach", tooltip="Put an offered folder on this device"),
        Binding("p", "pause", "Pause", tooltip="Let a folder, or a file on its way, rest or go on"),
        Binding("v", "versions", "Versions", tooltip="What files were, and bring them back"),
        Binding("d", "remove", "Remove", tooltip="Sync a folder no more on this device"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, FOLDER_HEADINGS, NO_FOLDERS, "folder-list")
        self._transfers = Listing(TRANSFER_HEADINGS, "", id="transfer-list")
        self._speeds = Speeds()

    def compose(self) -> ComposeResult:
        """The folders, and below them what is on its way."""
        yield self.listing
        yield self._transfers

    def lines(self, seen: Seen) -> Sequence[Line]:
        """A line for each folder."""
        return [] if seen.status is None else folder_lines(seen.status)

    def show(self, seen: Seen) -> None:
        """How fast things are is followed wherever the person is."""
        entries = [] if seen.transfers is None else seen.transfers["transfers"]
        self._speeds.note(done_of(seen.folders, entries), time.monotonic())
        super().show(seen)

    def draw(self, seen: Seen) -> None:
        """What is on its way, too."""
        super().draw(seen)
        entries = [] if seen.transfers is None else seen.transfers["transfers"]
        more = 0 if seen.transfers is None else seen.transfers["more"]
        self._transfers.show(transfer_lines(seen.folders, entries, more, self._speeds))
        self._transfers.set_class(bool(self._transfers.row_count), "moving")

    @property
    def chosen(self) -> str | None:
        """A folder; a file that is on its way is its folder's."""
        if self._transfers.has_focus:
            return (self._transfers.chosen or "").partition("/")[0]
        return self.listing.chosen

    @property
    def detail(self) -> str:
        """All of a name that is too long for the table."""
        return self._transfers.detail if self._transfers.has_focus else self.listing.detail

    def _folder(self) -> FolderStatus | None:
        return next((one for one in self.seen.folders if one["id"] == self.chosen), None)

    def _transfer(self) -> TransferEntry | None:
        """The file that the person is on, below the folders."""
        if not self._transfers.has_focus or self.seen.transfers is None:
            return None
        key, entries = self._transfers.chosen, self.seen.transfers["transfers"]
        return next((one for one in entries if key_of(one) == key), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        if action == "add":
            return self.seen.status is not None
        if action in ("attach", "pause", "versions", "remove"):
            folder = self._folder()
            return folder is not None and (folder["path"] is None) == (action == "attach")
        return True

    def on_listing_chosen(self) -> None:
        """Enter on a folder shows what was deleted from it, or asks for its path."""
        folder = self._folder()
        if folder is not None and folder["path"] is not None:
            self.action_versions()
        elif folder is not None:
            self.action_attach()

    def action_add(self) -> None:
        """A new folder."""
        self._ask_for_new(f"{Path.home()}/", "")

    def _ask_for_new(self, path: str, name: str) -> None:
        fields = [
            Field("path", "Its directory on this device", path),
            Field("name", "What it is called on every device", name),
        ]
        self.app.push_screen(Ask("Sync a directory with your devices", fields, "Add"), self._add)

    def _add(self, values: dict[str, str] | None) -> None:
        if values is not None:
            path, name = Path(values["path"].strip()).expanduser(), values["name"].strip()
            said = f"{name} is offered to your devices."
            self.carry_out(
                self._daemon.add_folder(path, name), said,
                lambda: self._ask_for_new(values["path"], values["name"]),
            )  # fmt: skip

    def action_attach(self) -> None:
        """A folder of another device gets a place here."""
        folder = self._folder()
        if folder is None:
            return
        self._ask_for_place(folder["id"], folder["name"], f"{Path.home()}/")

    def _ask_for_place(self, folder_id: str, name: str, typed: str) -> None:
        def attach(values: dict[str, str] | None) -> None:
            if values is not None:
                path = Path(values["path"].strip()).expanduser()
                said = f"{name} comes to {path}."
                self.carry_out(
                    self._daemon.attach_folder(folder_id, path), said,
                    lambda: self._ask_for_place(folder_id, name, values["path"]),
                )  # fmt: skip

        field = Field("path", "An existing directory on this device", typed)
        self.app.push_screen(
            Ask(f"Put {term_safe(name)} on this device", [field], "Attach"), attach
        )

    def action_pause(self) -> None:
        """A folder rests, or goes on; or a file that is on its way."""
        folder, transfer = self._folder(), self._transfer()
        if folder is not None and folder["path"] is not None and transfer is not None:
            is_paused = not transfer["paused"]
            said = f"{transfer['path']} {'is paused' if is_paused else 'goes on'}."
            path = Path(folder["path"]) / transfer["path"]
            self.carry_out(self._daemon.set_transfer_paused(path, is_paused), said)
        elif folder is not None:
            is_paused = folder["state"] != FolderState.PAUSED
            said = f"{folder['name']} is {'paused' if is_paused else 'going on'}."
            self.carry_out(self._daemon.set_paused(folder["id"], is_paused), said)

    def action_versions(self) -> None:
        """What files of a folder were, and what was deleted from it."""
        folder = self._folder()
        if folder is not None and folder["path"] is not None:
            self.app.push_screen(VersionsScreen(self._daemon, folder["path"]))

    def action_remove(self) -> None:
        """A folder less on this device."""
        folder = self._folder()
        if folder is None:
            return
        folder_id, name = folder["id"], folder["name"]

        def remove(is_meant: bool | None) -> None:
            if is_meant:
                said = f"{name} is synced here no more."
                self.carry_out(self._daemon.remove_folder(folder_id), said)

        question = f"Stop to sync {term_safe(name)} here? Its files stay."
        self.app.push_screen(Confirm(question, "Remove"), remove)
