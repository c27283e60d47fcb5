"""What the tab of devices shows, and that a device is put out after a question."""

from __future__ import annotations

from pathlib import Path

from tests.tui.stage import screen
from tui.devices import ALONE, NOT_THIS, DevicesPane
from tui.dialogs import Confirm
from tui.watch import Seen, Standing


async def test_devices_are_shown_and_removed(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("2")
        assert stage.cells("device-list")[0][2] == "this device"
        assert all("\x1b" not in cell for row in stage.cells("device-list") for cell in row)
        assert "Add" not in stage.keys()
        await stage.press("d")
        await stage.until(lambda: NOT_THIS in [n.message for n in stage.app._notifications])
        assert not isinstance(stage.app.screen, Confirm)
        await stage.press("down", "d")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.acts(("remove_device", "12" * 32))
        assert stage.listing("device-list").told == ""
        pane = stage.app.screen.query_one(DevicesPane)
        status = await stage.daemon.status()
        pane.show(Seen(Standing.RUNNING, "", status, [status["device"]]))
        assert pane.listing.told == ALONE
