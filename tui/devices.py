"""The tab of the user's devices, and how this one is linked to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from peer.command_line.terminal import term_safe
from peer.status import DeviceEntry
from tui.daemon import Daemon
from tui.dialogs import Confirm
from tui.pane import Pane
from tui.rows import DEVICE_HEADINGS, Line, device_lines, device_name
from tui.watch import Seen

NOT_THIS: Final = "This is the device you are at: remove it from another one of yours."
ALONE: Final = "No other device yet. Press i to invite one."


class DevicesPane(Pane):
    """The user's devices."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "remove", "Remove", tooltip="Make a device yours no more, for good"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, DEVICE_HEADINGS, "", "device-list")

    def lines(self, seen: Seen) -> Sequence[Line]:
        """A line for each."""
        return [] if seen.status is None else device_lines(seen.status, seen.devices)

    def draw(self, seen: Seen) -> None:
        """Who has one device only is told how to get a second."""
        super().draw(seen)
        self.listing.tell(ALONE if len(seen.devices) == 1 else "")

    def _device(self) -> DeviceEntry | None:
        return next((one for one in self.seen.devices if one["id"] == self.chosen), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        return self._device() is not None if action == "remove" else True

    def action_remove(self) -> None:
        """A device less."""
        device = self._device()
        if device is None:
            return
        status = self.seen.status
        if status is not None and device["id"] == status["device"]["id"]:
            self.app.notify(NOT_THIS, severity="warning", markup=False)
            return
        device_id, name = device["id"], term_safe(device_name(device))

        def remove(is_meant: bool | None) -> None:
            if is_meant:
                said = f"{name} is yours no more."
                self.carry_out(self._daemon.remove_device(device_id), said)

        question = f"Make {name} yours no more, for good? It gets nothing from now on."
        self.app.push_screen(Confirm(question, "Remove"), remove)
