"""The screen of one conflict: the file and its copy side by side, and a key for each decision."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import Static, TextArea

from peer.command_line.terminal import format_moment, format_size, term_safe
from peer.errors import PeerError, UnknownFile
from peer.status import Choice, ConflictEntry, FileEntry
from tui.daemon import READ_MAX, Daemon
from tui.diff import both_marked, can_be_edited, compare, is_marked, text_of
from tui.diff_view import DiffView
from tui.key_line import KeyLine

HASH_SHOWN = 16
"""Characters of a hash that are shown: two that differ, differ in these."""


class Side(NamedTuple):
    """One of the two."""

    entry: FileEntry
    text: str | None
    """None where it is no text, or larger than what is read of it."""


class ConflictScreen(Screen[None]):
    """Shows both, and does what is decided."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "decide('original')", "File", tooltip="Keep the file; the copy goes"),
        Binding("c", "decide('copy')", "Copy", tooltip="The copy takes the file's place"),
        Binding("b", "decide('both')", "Both", tooltip="Keep both, each under its own name"),
        Binding("e", "merge", "Edit", tooltip="Write one text of both"),
        Binding("escape", "app.pop_screen", "Back"),
    ]

    def __init__(self, daemon: Daemon, conflict: ConflictEntry) -> None:
        super().__init__()
        self._daemon, self._conflict = daemon, conflict
        self._place = Path(conflict["place"])
        self._original = self._place.with_name(conflict["original"].rpartition("/")[2])
        self._sides: tuple[Side | None, Side | None] = (None, None)
        self._head = Static("", id="conflict-head", markup=False)
        self._told = Static("", id="conflict-told", markup=False)
        self._view = DiffView(id="diff")

    def compose(self) -> ComposeResult:
        """What the two are, and what they say."""
        yield self._head
        yield self._view
        yield self._told
        yield KeyLine()

    def on_mount(self) -> None:
        """Reads both."""
        self._view.focus()
        self._head.update(term_safe(f"{self._conflict['folder']}: {self._conflict['original']}"))
        self.run_worker(self._look(), exclusive=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only a text of both can be edited, and only where nothing of it is hidden."""
        if action == "merge":
            texts = [side.text for side in self._sides if side is not None]
            return len(texts) == 2 and all(t is not None and can_be_edited(t) for t in texts)
        return True

    # ------------------------------------------------------------ looking

    async def _look(self) -> None:
        try:
            copy = await self._side(self._place)
            try:
                file: Side | None = await self._side(self._original)
            except UnknownFile:
                file = None  # it is deleted, or was renamed: the copy is all there is
        except PeerError as error:
            self._told.update(term_safe(str(error)))
            return
        if not self.is_attached:
            return
        self._sides = (file, copy)
        self._head.update(_head(self._conflict, file, copy))
        told = _why_not_compared(file, copy)
        if file is not None and file.text is not None and copy.text is not None:
            compared = await asyncio.to_thread(compare, file.text, copy.text)
            if not self.is_attached:
                return
            self._view.show(compared.rows)
            if not compared.is_whole:
                told = "The two differ in too many places: only the first of them are shown."
            elif not told and all(row.is_same for row in compared.rows):
                told = "The two have the same text."
        self._told.update(told)
        self._view.set_class(bool(self._view.rows), "compared")
        self.refresh_bindings()

    async def _side(self, path: Path) -> Side:
        entry = await self._daemon.file_at(path)
        text = None
        if entry["type"] == "file" and entry["size"] <= READ_MAX:
            text = text_of(await self._daemon.read_file(entry["id"]) if entry["size"] else b"")
        return Side(entry, text)

    # ------------------------------------------------------------ deciding

    def action_decide(self, choice: str) -> None:
        """What becomes of the copy."""
        chosen = Choice(choice)
        self._do(self._daemon.resolve(str(self._place), chosen), chosen.outcome)

    def action_merge(self) -> None:
        """One text of both, by hand."""
        file, copy = self._sides
        if file is None or copy is None or file.text is None or copy.text is None:
            return
        device = self._conflict["device"] or "another device"
        text = both_marked(file.text, copy.text, "the file", term_safe(f"the copy by {device}"))
        self.app.push_screen(MergeScreen(self._conflict["original"], text), self._merged)

    def _merged(self, text: str | None) -> None:
        file = self._sides[0]
        if text is not None and file is not None:
            self._do(self._put(file.entry, text), "Your text is the file now; the copy is gone.")

    async def _put(self, entry: FileEntry, text: str) -> None:
        """The text first: if anything fails then, there is a copy too many, and not one too few."""
        await self._daemon.write_file(entry["id"], text.encode(), entry["etag"])
        await self._daemon.resolve(str(self._place), Choice.ORIGINAL)

    def _do(self, work: Coroutine[Any, Any, object], said: str) -> None:
        self.run_worker(self._carry_out(work, said), group="decide")

    async def _carry_out(self, work: Coroutine[Any, Any, object], said: str) -> None:
        try:
            await work
        except PeerError as error:
            self.notify(term_safe(str(error)), severity="error", markup=False)
            if self.is_attached:
                await self._look()
            return
        self.app.notify(term_safe(said), markup=False)
        if self.is_current:
            self.app.pop_screen()


class MergeScreen(ModalScreen[str | None]):
    """An editor with all of both texts, to be made one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", priority=True, tooltip="This text is the file"),
        Binding("escape", "cancel", "Cancel", priority=True, tooltip="Nothing is changed"),
    ]

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self._name, self._text = name, text

    def compose(self) -> ComposeResult:
        """The text, and what to do with it."""
        words = f"{self._name}: take out what you do not want, and the lines with <, = and >."
        yield Static(term_safe(words), id="merge-head", markup=False)
        yield TextArea(self._text, id="merge", show_line_numbers=True)
        yield KeyLine()

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one(TextArea).focus()

    def action_save(self) -> None:
        """It is the file, unless a mark was forgotten."""
        text = self.query_one(TextArea).text
        if is_marked(text):
            self.notify("A mark is left in the text.", severity="warning")
        else:
            self.dismiss(text)

    def action_cancel(self) -> None:
        """Nothing is changed."""
        self.dismiss(None)


def _head(conflict: ConflictEntry, file: Side | None, copy: Side) -> Text:
    title = term_safe(f"{conflict['folder']}: {conflict['original']}")
    lines = [Text(title, style="bold")]
    lines.append(Text(f"- the file  {_facts(file)}" if file else "- there is no file any more"))
    lines.append(Text(f"+ the copy  {_facts(copy)}"))
    return Text("\n").join(lines)


def _facts(side: Side) -> str:
    entry = side.entry
    written = entry["written_s"] or int(entry["modified_s"])
    by = f" by {entry['device']}" if entry["device"] else ""
    name = entry["etag"].strip('"')[:HASH_SHOWN]
    return term_safe(f"{format_size(entry['size'])}, {format_moment(written)}{by}, hash {name}")


def _why_not_compared(file: Side | None, copy: Side) -> str:
    if file is None:
        return "The file was deleted or renamed: [c] puts the copy in its place."
    if file.entry["etag"] == copy.entry["etag"]:
        return "The two are the same, byte for byte."
    if file.text is None or copy.text is None:
        if max(file.entry["size"], copy.entry["size"]) > READ_MAX:
            return "They are too large to be compared; sizes, times and hashes are above."
        return "They are no text; their sizes, times and hashes are above."
    return ""
