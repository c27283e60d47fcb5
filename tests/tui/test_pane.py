"""What all tabs have in common: nothing is said before it is known, and what was refused is."""

from __future__ import annotations

from pathlib import Path

from peer.errors import UnknownFolder
from tests.tui.stage import screen
from tui.pane import Pane
from tui.relays import NO_RELAYS, RelaysPane
from tui.watch import Seen, Standing


async def test_it_is_silent_until_there_is_a_picture_and_says_what_was_refused(
    tmp_path: Path,
) -> None:
    async with screen(tmp_path) as stage:
        pane = RelaysPane(stage.app.daemon)
        await stage.app.screen.mount(pane)
        pane.show(Seen(Standing.LOST, "gone"))
        assert pane.listing.told == ""
        pane.show(Seen(Standing.RUNNING, "", await stage.daemon.status()))
        assert pane.listing.told == NO_RELAYS

        async def refuse() -> None:
            raise UnknownFolder("There is no \x1b such folder.")

        asked = len([call for call in stage.daemon.calls if call == ("status",)])
        stage.app.screen.query_one("#folder-list").query_ancestor(Pane).carry_out(refuse())
        await stage.until(lambda: stage.app._notifications)
        (told,) = stage.app._notifications
        assert told.message == "There is no \\x1b such folder."
        assert told.severity == "error"

        async def do() -> None:
            return None

        pane.carry_out(do(), "It is done.")
        await stage.until(lambda: len(stage.app._notifications) == 2)
        await stage.until(lambda: stage.daemon.calls.count(("status",)) > asked)
