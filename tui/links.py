"""The tab of links: what others may fetch, or put in, without a device; made, shown and ended."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.binding import Binding, BindingType

from peer.command_line import link_words
from peer.command_line.terminal import format_moment, term_safe
from peer.errors import PeerError
from tui.daemon import Daemon
from tui.dialogs import Ask, Confirm, Field
from tui.in_keys import in_keys
from tui.pane import Pane
from tui.qr import QrScreen
from tui.rows import Line, Tone
from tui.watch import Seen

LINK_HEADINGS: Final = ("", "link", "kind", "state", "size", "used", "until")
NO_LINKS: Final = "No links. Press a to share something, u to ask somebody for files."
ENDED: Final = "It is ended: nobody gets anything by it any more."
UPLOAD_ENDED: Final = "It is ended: nobody puts anything in by it any more."
WISHED: Final = "Another device made it. It ends once that one or its relay can be reached."
ASKING: Final = "Asking the relays…"
GIVES: Final = "Who has this address has the files: what is behind the # is the key to them."
TAKES: Final = "Who has this address can put files in, and sees none that are there."
DAYS_DEFAULT: Final = "7"
DAYS_MAX: Final = 3650
FILES_DEFAULT: Final = "100"
GIGABYTES_DEFAULT: Final = "2"
SENDERS_SHOWN: Final = 2
"""What is below the table has room for so many on 24 lines."""
_TONES: Final = {"live": Tone.GOOD, "unknown": Tone.ASKS, "ending": Tone.ASKS}

Link = Mapping[str, Any]
Make = Callable[[Mapping[str, Any]], Awaitable[Link]]


def link_lines(links: Sequence[Link], uploads: Sequence[Link] = ()) -> list[Line]:
    """A line for each link of both kinds: first what is not over, then the newest."""
    every = sorted([*links, *uploads], key=lambda link: (not _may_live(link), -link["made_s"]))
    return [_line(link) for link in every]


def _may_live(link: Link) -> bool:
    return link["state"] in _TONES


def _is_upload(link: Link) -> bool:
    return "files_max" in link


def _line(link: Link) -> Line:
    if _is_upload(link):
        kind, used, detail = "upload", f"{link_words.files_come(link)} files", _come(link)
    else:
        kind, used = "share", f"{link_words.downloads(link)} times"
        detail = ["With a password."] if link["has_password"] else []
    detail += filter(None, [link_words.elsewhere(link)])
    cells = (
        "●" if link["state"] == "live" else "○", link_words.name_of(link), kind, link["state"],
        link_words.size_of(link), used,
        format_moment(link["expires_s"]) if link["expires_s"] else "for ever",
    )  # fmt: skip
    told = "\n".join(in_keys(line) for line in [*detail, link["url"]])
    tone = _TONES.get(link["state"], Tone.QUIET)
    return Line(link["id"], tuple(term_safe(cell) for cell in cells), tone, told)


def _come(link: Link) -> list[str]:
    """Where what comes by an upload link goes, and what has come and what not, of whom."""
    into = f", into {link['place'] or 'a folder that is not on this device'}"
    password = ", with a password" if link["has_password"] else ""
    come = link_words.come(link)
    more = [f"and from {len(come) - SENDERS_SHOWN} more"] if len(come) > SENDERS_SHOWN else []
    news = ("; ".join([*come[:SENDERS_SHOWN], *more]), " ".join(link_words.lacking(link)))
    takes = f"Takes {link_words.allowed(link)}{'' if link['device'] else into}{password}."
    return [takes, *filter(None, news)]


class LinksPane(Pane):
    """The user's links. They are asked for when somebody looks, for relays have to be asked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "create", "Share", tooltip="Share a file or directory by a link"),
        Binding("u", "request", "Ask", tooltip="Ask for files: a link by which others put them in"),
        Binding("s", "qr", "Show", tooltip="The address as text and as a QR code"),
        Binding("c", "copy", "Copy", tooltip="Put the address on the clipboard"),
        Binding("d", "revoke", "End", tooltip="Nobody gets or puts in anything by it any more"),
        # Not in the line of keys, which is full: to come to the tab asks, too.
        Binding("r", "look", "Again", tooltip="Ask the relays once more", show=False),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, LINK_HEADINGS, NO_LINKS, "link-list")
        self._links: Mapping[str, Link] = {}

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
            links, uploads = await self._daemon.links()
        except PeerError as error:
            self.tell(error)
            return
        if self.is_attached:
            self._links = {link["id"]: link for link in (*links, *uploads)}
            self.listing.show(link_lines(links, uploads))
            self.screen.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        link = self._link()
        if action in ("qr", "copy"):
            return link is not None
        if action == "revoke":
            return link is not None and _may_live(link)
        return True

    def _link(self) -> Link | None:
        return None if self.chosen is None else self._links.get(self.chosen)

    def on_listing_chosen(self) -> None:
        """Enter, or a second click."""
        self.action_qr()

    def action_qr(self) -> None:
        """Shows the address."""
        link = self._link()
        if link is not None:
            self._show(link)

    def _show(self, link: Link) -> None:
        told = TAKES if _is_upload(link) else GIVES
        if link["has_password"]:
            told = f"{told} The password is asked for as well."
        self.app.push_screen(QrScreen(term_safe(link["name"]), term_safe(link["url"]), told))

    def action_copy(self) -> None:
        """To the clipboard, by the terminal."""
        link = self._link()
        if link is not None:
            self.app.copy_to_clipboard(link["url"])
            self.notify("Copied, if this terminal lets a program do so.")

    # ------------------------------------------------------------ new ones

    def _begun(self) -> str:
        """A path is likely in the first folder."""
        placed = next((one["path"] for one in self.seen.folders if one["path"] is not None), None)
        return "" if placed is None else f"{placed}/"

    def action_create(self, typed: Mapping[str, str] | None = None) -> None:
        """A new share link; `typed` is to be corrected."""
        values = typed or {"path": self._begun(), "days": DAYS_DEFAULT, "downloads": "0"}
        fields = [
            Field("path", "What to share: a file, or a directory", values["path"]),
            Field("days", "For how many days; 0: until it is ended", values["days"]),
            Field("downloads", "How often; 0: as often as anybody likes", values["downloads"]),
            _password(values),
        ]
        self.app.push_screen(Ask("Share by a link", fields, "Share"), self._create)

    def _create(self, values: dict[str, str] | None) -> None:
        if values is None:
            return
        wish = self._wish(values)
        downloads = _whole(values["downloads"])
        if wish is None or downloads is None:
            text = f"Days and downloads are whole numbers, and {DAYS_MAX} days are the most."
            self.notify(text, severity="error")
            self.action_create(values)
            return
        self.notify("What is not at the relay yet is uploaded first…")
        work = self._made(
            self._daemon.create_link, wish | {"downloads_max": downloads},
            lambda: self.action_create(values),
        )  # fmt: skip
        self.run_worker(work, group="create")

    def action_request(self, typed: Mapping[str, str] | None = None) -> None:
        """A new upload link; `typed` is to be corrected."""
        values = typed or {
            "path": self._begun(), "days": DAYS_DEFAULT, "files": FILES_DEFAULT,
            "gigabytes": GIGABYTES_DEFAULT,
        }  # fmt: skip
        fields = [
            Field("path", "Into which directory of a folder files are to come", values["path"]),
            Field("days", "For how many days; 0: until it is ended", values["days"]),
            Field("files", "How many files at most", values["files"]),
            Field("gigabytes", "How many GB at most, all of them together", values["gigabytes"]),
            _password(values),
        ]
        self.app.push_screen(Ask("Ask for files by a link", fields, "Make it"), self._request)

    def _request(self, values: dict[str, str] | None) -> None:
        if values is None:
            return
        wish = self._wish(values)
        files, size = _whole(values["files"]), _gigabytes(values["gigabytes"])
        if wish is None or not files or not size:
            text = f"Days, files and GB are numbers, and {DAYS_MAX} days are the most."
            self.notify(text, severity="error")
            self.action_request(values)
            return
        work = self._made(
            self._daemon.create_upload_link, wish | {"files_max": files, "bytes_max": size},
            lambda: self.action_request(values),
        )  # fmt: skip
        self.run_worker(work, group="create")

    def _wish(self, values: Mapping[str, str]) -> dict[str, Any] | None:
        """What links of both kinds have; None if the days cannot be meant."""
        days = _whole(values["days"])
        if days is None or days > DAYS_MAX:
            return None
        path = Path(values["path"].strip()).expanduser().absolute()
        wish: dict[str, Any] = {"path": str(path), "lifetime_s": days * 86_400}
        if values["password"]:
            wish["password"] = values["password"]
        return wish

    async def _made(self, make: Make, wish: Mapping[str, Any], again: Callable[[], None]) -> None:
        try:
            link = await make(wish)
        except PeerError as error:
            self.tell(error)
            if self.is_attached:
                again()
            return
        if self.is_attached:
            self._show(link)
            await self._look()

    # ------------------------------------------------------------ ends

    def action_revoke(self) -> None:
        """Ends one, after a question."""
        link = self._link()
        if link is None:
            return
        name = term_safe(link["name"])

        def revoke(is_meant: bool | None) -> None:
            if is_meant:
                self.run_worker(self._revoke(link))

        question = f"End the link to {name}, for good?"
        if _is_upload(link):
            question = f"End the upload link {name}, for good? What has come stays."
        self.app.push_screen(Confirm(question, "End it"), revoke)

    async def _revoke(self, link: Link) -> None:
        try:
            is_ended = await self._daemon.revoke_link(link["id"])
        except PeerError as error:
            self.tell(error)
            return
        if self.is_attached:
            ended = UPLOAD_ENDED if _is_upload(link) else ENDED
            self.notify(ended if is_ended else WISHED)
            await self._look()


def _password(values: Mapping[str, str]) -> Field:
    typed = values.get("password", "")
    return Field("password", "A password, or nothing", typed, is_optional=True, is_secret=True)


def _whole(text: str) -> int | None:
    """A number that was typed; None if it is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _gigabytes(text: str) -> int | None:
    """Bytes; None if no number of GB was typed."""
    try:
        size = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return int(size * 1e9) if math.isfinite(size) and 0 < size < 1e6 else None
