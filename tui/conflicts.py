"""The tab of conflict copies, each of which is compared, or decided by one key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from peer.status import Choice
from tui.conflict import ConflictScreen
from tui.daemon import Daemon
from tui.pane import Pane
from tui.rows import CONFLICT_HEADINGS, Line, conflict_lines
from tui.watch import Seen

NO_CONFLICTS: Final = "No conflicts."


class ConflictsPane(Pane):
    """The conflict copies of all folders."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "compare", "Compare", tooltip="The file and the copy side by side"),
        Binding("f", "decide('original')", "File", tooltip="Keep the file; the copy goes"),
        Binding("c", "decide('copy')", "Copy", tooltip="The copy takes the file's place"),
        Binding("b", "decide('both')", "Both", tooltip="Keep both, each under its own name"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, CONFLICT_HEADINGS, NO_CONFLICTS, "conflict-list")

    def lines(self, seen: Seen) -> Sequence[Line]:
        """A line for each copy, by its path on this machine."""
        return conflict_lines(seen.conflicts)

    def open(self) -> None:
        """They are looked for when somebody looks at them."""
        super().open()
        self.post_message(self.Acted())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        return self.chosen is not None if action in ("compare", "decide") else True

    def on_listing_chosen(self) -> None:
        """Enter, or a second click."""
        self.action_compare()

    def action_compare(self) -> None:
        """The file and the copy side by side."""
        found = next((one for one in self.seen.conflicts if one["place"] == self.chosen), None)
        if found is not None:
            self.app.push_screen(ConflictScreen(self._daemon, found))

    def action_decide(self, choice: str) -> None:
        """What becomes of a copy."""
        chosen = self.chosen
        if chosen is not None:
            self.carry_out(self._daemon.resolve(chosen, Choice(choice)), Choice(choice).outcome)
