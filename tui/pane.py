"""One tab of the main screen: a table of what was seen, and what can be done about its lines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from peer.command_line.terminal import term_safe
from peer.errors import PeerError
from tui.daemon import Daemon
from tui.in_keys import in_keys
from tui.listing import Listing
from tui.rows import Line
from tui.watch import Seen


class Pane(Vertical):
    """What the tabs have in common."""

    BLANK = True
    """Its parts cover all of it: to draw the ground that nobody sees, in the pane, around it and on
    the screen below, was a sixth of what a key costs.
    """

    class Acted(Message):
        """Something was done: how all of it stands has to be looked at."""

    def __init__(self, daemon: Daemon, headings: Sequence[str], empty: str, name: str) -> None:
        """`empty`: what to say where there is no line; `name`: of the table."""
        super().__init__()
        self._daemon = daemon
        self.listing = Listing(headings, empty, id=name)
        self.seen = Seen()

    def compose(self) -> ComposeResult:
        """The table."""
        yield self.listing

    def lines(self, seen: Seen) -> Sequence[Line]:
        """What the table says of it; nothing, unless the tab knows better."""
        return ()

    def show(self, seen: Seen) -> None:
        """Another picture, which is drawn as soon as somebody looks at this tab."""
        self.seen = seen
        if self.display:
            self.draw(seen)

    def draw(self, seen: Seen) -> None:
        """Brings the table up to date; as long as there is no picture, nothing is said."""
        if seen.status is not None:
            self.listing.show(self.lines(seen))

    def open(self) -> None:
        """The person is here now. What is known already is drawn with the key that leads here, in
        one layout: whatever else is to be known comes as another picture.
        """
        self.draw(self.seen)
        self.screen.set_focus(self.listing)

    @property
    def chosen(self) -> str | None:
        """The key of the line that the person is on."""
        return self.listing.chosen

    @property
    def detail(self) -> str:
        """What there is to read of it that has no room in the table."""
        return self.listing.detail

    def carry_out(
        self,
        work: Coroutine[Any, Any, object],
        said: str = "",
        again: Callable[[], object] | None = None,
    ) -> None:
        """Does something, and says so, or why it was not done; then `again` asks for what was
        typed, to be corrected.
        """
        self.run_worker(self._carry_out(work, said, again))

    async def _carry_out(
        self, work: Coroutine[Any, Any, object], said: str, again: Callable[[], object] | None
    ) -> None:
        try:
            await work
        except PeerError as error:
            self.tell(error)
            if again is not None and self.is_attached:
                again()
            return
        if self.is_attached:
            if said:
                self.app.notify(term_safe(said), markup=False)
            self.post_message(self.Acted())

    def tell(self, error: PeerError) -> None:
        """Says why something was not done."""
        self.app.notify(in_keys(str(error)), severity="error", markup=False)
