"""The tab of share links: what others may fetch without a device; made, shown and ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.binding import Binding, BindingType

from peer.command_line.terminal import format_moment, format_size, term_safe
from peer.errors import PeerError
from tui.daemon import Daemon
from tui.dialogs import Ask, Confirm, Field
from tui.pane import Pane
from tui.qr import QrScreen
from tui.rows import Line, Tone
from tui.watch import Seen

LINK_HEADINGS: Final = ("", "link", "state", "size", "downloads", "until", "password")
NO_LINKS: Final = "No links. Press a to share something."
ENDED: Final = "It is ended: nobody gets anything by it any more."
WISHED: Final = "Another device made it. It ends once that one or its relay can be reached."
ASKING: Final = "Asking the relays…"
DAYS_DEFAULT: Final = "7"
DAYS_MAX: Final = 3650
_TONES: Final = {"live": Tone.GOOD, "unknown": Tone.ASKS, "ending": Tone.ASKS}

Link = Mapping[str, Any]


def link_lines(links: Sequence[Link]) -> list[Line]:
    """A line for each link."""
    return [_line(link) for link in links]


def _line(link: Link) -> Line:
    had = "?" if link["downloads"] is None else str(link["downloads"])
    downloads = f"{had} of {link['downloads_max']}" if link["downloads_max"] else had
    name = link["name"] if link.get("kind", "give") == "give" else f"{link['name']} (request)"
    if link.get("device"):
        name = f"{name} (on {link['device']})"
    cells = (
        "●" if link["state"] == "live" else "○", name, link["state"], format_size(link["bytes"]),
        downloads, format_moment(link["expires_s"]) if link["expires_s"] else "for ever",
        "yes" if link["has_password"] else "no",
    )  # fmt: skip
    tone = _TONES.get(link["state"], Tone.QUIET)
    return Line(link["id"], tuple(term_safe(cell) for cell in cells), tone, term_safe(link["url"]))


class LinksPane(Pane):
    """The user's links. They are asked for when somebody looks, for relays have to be asked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "create", "New", tooltip="Share a file or directory by a link"),
        Binding("s", "qr", "Show", tooltip="The address as text and as a QR code"),
        Binding("c", "copy", "Copy", tooltip="Put the address on the clipboard"),
        Binding("d", "revoke", "End", tooltip="Nobody gets anything by it any more"),
        Binding("r", "look", "Again", tooltip="Ask the relays once more"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, LINK_HEADINGS, NO_LINKS, "link-list")
        self._links: Sequence[Link] = ()

    def draw(self, seen: Seen) -> None:
        """Links are no part of the picture."""

    def open(self) -> None:
        """Asks for them, if there is somebody to be asked."""
        super().open()
        if self.seen.status is not None:
            self.action_look()

    def action_look(self) -> None:
        """Asks again."""
        if not self._links:
            self.listing.tell(ASKING)
        self.run_worker(self._look(), exclusive=True, group="look")

    async def _look(self) -> None:
        try:
            links = await self._daemon.links()
        except PeerError as error:
            self.tell(error)
            return
        if self.is_attached:
            self._links = links
            self.listing.show(link_lines(links))
            self.screen.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        if action in ("qr", "copy", "revoke"):
            return self._link() is not None
        return True

    def _link(self) -> Link | None:
        return next((link for link in self._links if link["id"] == self.chosen), None)

    def on_listing_chosen(self) -> None:
        """Enter, or a second click."""
        self.action_qr()

    def action_qr(self) -> None:
        """Shows the address."""
        link = self._link()
        if link is not None:
            self._show(link)

    def _show(self, link: Link) -> None:
        told = "Who has this address has the files: what is behind the # is the key to them."
        if link["has_password"]:
            told = f"{told} The password is asked for as well."
        self.app.push_screen(QrScreen(term_safe(link["name"]), term_safe(link["url"]), told))

    def action_copy(self) -> None:
        """To the clipboard, by the terminal."""
        link = self._link()
        if link is not None:
            self.app.copy_to_clipboard(link["url"])
            self.notify("Copied, if this terminal lets a program do so.")

    def action_create(self) -> None:
        """A new one, likely of the first folder."""
        placed = next((one["path"] for one in self.seen.folders if one["path"] is not None), None)
        begun = "" if placed is None else f"{placed}/"
        fields = [
            Field("path", "What to share: a file, or a directory", begun),
            Field("days", "For how many days; 0: until it is ended", DAYS_DEFAULT),
            Field("downloads", "How often; 0: as often as anybody likes", "0"),
            Field("password", "A password, or nothing", is_optional=True, is_secret=True),
        ]
        self.app.push_screen(Ask("Share by a link", fields, "Share"), self._create)

    def _create(self, values: dict[str, str] | None) -> None:
        if values is None:
            return
        try:
            days, downloads = int(values["days"]), int(values["downloads"])
            if not (0 <= days <= DAYS_MAX and downloads >= 0):
                raise ValueError
        except ValueError:
            text = f"Days and downloads are whole numbers, and {DAYS_MAX} days are the most."
            self.notify(text, severity="error")
            return
        wish: dict[str, Any] = {
            "path": str(Path(values["path"].strip()).expanduser().absolute()),
            "lifetime_s": days * 86_400, "downloads_max": downloads,
        }  # fmt: skip
        if values["password"]:
            wish["password"] = values["password"]
        self.notify("What is not at the relay yet is uploaded first…")
        self.run_worker(self._made(wish), group="create")

    async def _made(self, wish: Mapping[str, Any]) -> None:
        try:
            link = await self._daemon.create_link(wish)
        except PeerError as error:
            self.tell(error)
            return
        if self.is_attached:
            self._show(link)
            await self._look()

    def action_revoke(self) -> None:
        """Ends one, after a question."""
        link = self._link()
        if link is None:
            return
        chosen = link["id"]

        def revoke(is_meant: bool | None) -> None:
            if is_meant:
                self.run_worker(self._revoke(chosen))

        question = f"End the link to {term_safe(link['name'])}, for good?"
        self.app.push_screen(Confirm(question, "End it"), revoke)

    async def _revoke(self, link_id: str) -> None:
        try:
            is_ended = await self._daemon.revoke_link(link_id)
        except PeerError as error:
            self.tell(error)
            return
        if self.is_attached:
            self.notify(ENDED if is_ended else WISHED)
            await self._look()
