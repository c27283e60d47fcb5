"""The tab of relays, where devices meet that are not in one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from tui.daemon import Daemon
from tui.dialogs import Ask, Confirm, Field
from tui.pane import Pane
from tui.rows import RELAY_HEADINGS, Line, relay_lines
from tui.watch import Seen

NO_RELAYS: Final = "Press a to use a relay."


class RelaysPane(Pane):
    """The relays of this device."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add", tooltip="Meet your devices at one more relay"),
        Binding("d", "remove", "Remove", tooltip="Use a relay no more"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, RELAY_HEADINGS, NO_RELAYS, "relay-list")

    def lines(self, seen: Seen) -> Sequence[Line]:
        """A line for each."""
        return relay_lines(seen.relays)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        if action == "add":
            return self.seen.status is not None
        return self.chosen is not None if action == "remove" else True

    def action_add(self) -> None:
        """One more."""
        field = Field("address", "The address, as the relay prints it", "holdfast-relay://")
        self.app.push_screen(Ask("Meet at a relay", [field], "Add"), self._add)

    def _add(self, values: dict[str, str] | None) -> None:
        if values is not None:
            address = values["address"].strip()
            self.carry_out(self._daemon.add_relay(address), "The relay is added.")

    def action_remove(self) -> None:
        """One less."""
        chosen = self.chosen
        if chosen is None:
            return

        def remove(is_meant: bool | None) -> None:
            if is_meant:
                said = "The relay is used no more."
                self.carry_out(self._daemon.remove_relay(chosen), said)

        self.app.push_screen(Confirm("Use this relay no more?", "Remove"), remove)
