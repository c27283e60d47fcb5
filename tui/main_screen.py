"""The main screen: a tab for each subject, and the acts that are none of theirs."""

from __future__ import annotations

import time
from typing import ClassVar, Final, Self

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.geometry import Region
from textual.screen import Screen

from peer.command_line.terminal import term_safe
from peer.errors import PeerError
from peer.status import HoldAnswer
from tui.backups import BackupsPane
from tui.conflicts import ConflictsPane
from tui.daemon import Daemon
from tui.devices import DevicesPane
from tui.dialogs import Kit
from tui.folders import FoldersPane
from tui.in_keys import in_keys
from tui.key_line import KeyLine
from tui.links import LinksPane
from tui.news import NewsPane
from tui.pane import Pane
from tui.qr import QrScreen
from tui.relays import RelaysPane
from tui.rows import question_of
from tui.search import SearchScreen
from tui.settings import SettingsScreen
from tui.tab_bar import TabBar
from tui.told import Told
from tui.trail import TrailScreen
from tui.trouble import TroublePane
from tui.watch import Seen, Standing, Watch
from tui.welcome import WelcomeScreen, started_daemon

MAKE_ONE: Final = f"{Standing.EMPTY.value} Press r to make one."
"""Once the person has left the window that asks for it."""
QUESTION_KEYS: Final = "[y] They were meant  [n] Bring back what was there"


class Panes(Container):
    """Where the tabs are, of which one is shown."""

    BLANK = True

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        """A layout that gives it another size has laid out what is in it, too: the library would
        lay out the whole screen once more.
        """
        return super().refresh(*regions, repaint=repaint, layout=recompose, recompose=recompose)


class MainScreen(Screen[None]):
    """One device."""

    BLANK = True
    """As of a pane."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "tab('folders')", "Folders", show=False),
        Binding("2", "tab('devices')", "Devices", show=False),
        Binding("3", "tab('trouble')", "Not synced", show=False),
        Binding("4", "tab('conflicts')", "Conflicts", show=False),
        Binding("5", "tab('relays')", "Relays", show=False),
        Binding("6", "tab('news')", "News", show=False),
        Binding("7", "tab('links')", "Links", show=False),
        Binding("8", "tab('backup')", "Backup", show=False),
        Binding("r", "start", "Start it", tooltip="Run the daemon"),
        Binding("y", "answer('accept')", "Meant", tooltip="The changes were meant: tell others"),
        Binding("n", "answer('restore')", "Bring back", tooltip="They were not: bring it back"),
        Binding("i", "invite", "Invite", tooltip="A code that makes another device yours"),
        Binding("slash", "search", "Find", tooltip="Files by name, type, date and size"),
        Binding("l", "trail", "Log", tooltip="Who did what"),
        Binding("comma", "settings", "Setup", tooltip="What is set, and other values"),
        Binding("question_mark", "app.toggle_keys", "Keys", tooltip="All keys"),
        ("q", "app.quit", "Quit"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        self._is_moving_focus = False
        super().__init__()
        self._daemon = daemon
        self.daemon_watch = Watch(daemon, self._show)
        self._headline = Told(self.seen.told, id="headline")
        self._question = Told(id="question")
        self._tabs = TabBar()
        self._panes: dict[str, Pane] = {
            "folders": FoldersPane(daemon), "devices": DevicesPane(daemon),
            "trouble": TroublePane(daemon), "conflicts": ConflictsPane(daemon),
            "relays": RelaysPane(daemon), "news": NewsPane(daemon), "links": LinksPane(daemon),
            "backup": BackupsPane(daemon),
        }  # fmt: skip
        self._detail = Told(id="line-detail")
        self._keys = KeyLine()
        self._was_welcomed = self._has_left = False
        self._invitation: QrScreen | None = None

    def compose(self) -> ComposeResult:
        """The line that says it all, what is asked, and a table for each subject."""
        yield self._headline
        yield self._question
        yield self._tabs
        with Panes(id="panes"):
            for tab, pane in self._panes.items():
                pane.display = tab == self._tabs.active
                yield pane
        yield self._detail
        yield self._keys

    def on_mount(self) -> None:
        """Begins to look."""
        self._pane.open()
        self.run_worker(self.daemon_watch.run(), group="watch")

    # ------------------------------------------------------------ what is seen

    @property
    def seen(self) -> Seen:
        """The last picture of the daemon."""
        return self.daemon_watch.seen

    @property
    def _pane(self) -> Pane:
        return self._panes[self._tabs.active]

    def _show(self, seen: Seen) -> None:
        if not self._keys.is_attached:
            return  # the person has left meanwhile
        is_left = seen.standing is Standing.EMPTY and self._has_left
        self._headline.say(MAKE_ONE if is_left else seen.told)
        self._headline.set_class(seen.standing in (Standing.LOST, Standing.TROUBLED), "lost")
        for pane in self._panes.values():
            pane.show(seen)
        if seen.standing is Standing.EMPTY:
            self._welcome()
        elif seen.standing is Standing.RUNNING and isinstance(self.app.screen, WelcomeScreen):
            self.app.screen.dismiss(None)  # it was made by another hand
        asked = "" if seen.status is None else question_of(seen.status, self._chosen_folder)
        self._question.say(f"{asked}  {QUESTION_KEYS}" if asked else "")
        self._question.set_class(bool(asked), "asked")
        self._renew()

    @property
    def _chosen_folder(self) -> str | None:
        return self._panes["folders"].chosen

    def _renew(self) -> None:
        """What there is to read and to do may be something else now."""
        if not self._keys.is_attached:
            return
        detail = self._pane.detail
        self._detail.say(detail)
        self._detail.set_class(bool(detail), "told")
        if self._keys.renew():
            self.refresh_bindings()

    def action_tab(self, tab: str) -> None:
        """Shows one of the tables, with what is known already; what else it needs is asked then."""
        self.daemon_watch.key_came(time.monotonic())
        self._tabs.active = self.daemon_watch.tab = tab
        for name, pane in self._panes.items():
            pane.display = name == tab
        self._is_moving_focus = True
        self._pane.open()
        self._is_moving_focus = False
        self._renew()

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        """Where the focus goes is seen on what has it: the library would paint all of the screen
        for that, and send all of it to the terminal, after the table has been painted already.
        """
        if self._is_moving_focus and not (layout or recompose or regions):
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def on_listing_moved(self) -> None:
        """Another line: what can be done is another thing there."""
        self._renew()

    def on_descendant_focus(self) -> None:
        """The same of another table."""
        self._renew()

    def on_pane_acted(self) -> None:
        """It stands otherwise now."""
        self.daemon_watch.look()

    def on_news_pane_heard(self, event: NewsPane.Heard) -> None:
        """Somebody has joined: the invitation has done its work."""
        invitation = self._invitation
        if invitation is self.app.screen and any(n["kind"] == "joined" for n in event.notices):
            invitation.dismiss(None)

    # ------------------------------------------------------------ what can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        match action:
            case "invite" | "search" | "trail" | "settings":
                return self.seen.status is not None
            case "start":
                return self.seen.is_startable
            case "answer":
                return any("question" in one for one in self.seen.folders)
        return True

    def action_answer(self, answer: str) -> None:
        """The person's word on many changes."""
        asking = [one for one in self.seen.folders if "question" in one]
        asking.sort(key=lambda one: one["id"] != self._chosen_folder)
        if asking:
            said = f"{asking[0]['name']}: your answer is {answer}."
            work = self._daemon.answer(asking[0]["id"], HoldAnswer(answer))
            self._pane.carry_out(work, said)

    def action_invite(self) -> None:
        """A code that makes another device the user's."""
        self.run_worker(self._invite())

    async def _invite(self) -> None:
        try:
            made = await self._daemon.invite()
        except PeerError as error:
            self._pane.tell(error)
            return
        if not self.is_attached:
            return
        code = made["code"]
        text = ["On the other device: `holdfast tui`, then j, and type this code; or"]
        text.append(f"    holdfast join {code} --name NAME")
        if made["relays"]:  # any one of them; at 24 lines several would push the picture away
            text.append(f"On another network, say where: {made['relays'][0]}")
        text.append(f"It holds for {made['expires_s'] / 60:.0f} minutes, for one device.")
        told = "\n".join(map(term_safe, text))
        self._invitation = QrScreen("Invite a device", term_safe(code), told)
        self.app.push_screen(self._invitation)

    def action_search(self) -> None:
        """Find files by their names."""
        self.app.push_screen(SearchScreen(self._daemon, self.daemon_watch))

    def action_trail(self) -> None:
        """Who did what."""
        self.app.push_screen(TrailScreen(self._daemon))

    def action_settings(self) -> None:
        """What is set."""
        self.app.push_screen(SettingsScreen(self._daemon))

    # ------------------------------------------------------------ the beginning

    def action_start(self) -> None:
        """Runs the daemon, which stays when the screen is left; without a device, makes one."""
        if self.seen.standing is Standing.EMPTY:
            self._was_welcomed = False
            self._welcome()
        else:
            self.run_worker(self._start(), group="start", exclusive=True)

    async def _start(self) -> None:
        self.daemon_watch.starting(True)
        try:
            problem = await started_daemon(self._daemon.home)
        finally:
            self.daemon_watch.starting(False)
        if problem and self.is_attached:
            self.notify(in_keys(problem), severity="error", markup=False)

    def _welcome(self) -> None:
        """There is no device here: once, ask what kind it is to be."""
        if not self._was_welcomed:
            self._was_welcomed, self._has_left = True, False
            self._headline.say(Standing.EMPTY.value)
            self.app.push_screen(WelcomeScreen(self._daemon.home), self._made)

    def _made(self, kit: str | None) -> None:
        """There is a device: it is run, and its kit is shown once."""
        if kit is None:
            self._has_left = True
            self._show(self.seen)
            return
        self.run_worker(self._start(), group="start", exclusive=True)
        if kit:
            self.app.push_screen(Kit(kit))
