"""The main screen: folders, devices, what is not synced and relays, as the daemon tells of them
every second, and what a person can do about each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel as Severity
from textual.screen import Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from peer.command_line.terminal import term_safe
from peer.errors import DaemonNotRunning, NoDevice, PeerError
from peer.status import (
    Choice,
    ConflictEntry,
    FolderState,
    FolderStatus,
    HoldAnswer,
    NoticeEntry,
    RelayList,
    Status,
)
from tui.backups import BACKUP_HEADINGS, NO_BACKUPS, backup_lines, summary
from tui.conflict import ConflictScreen
from tui.daemon import Daemon
from tui.dialogs import Ask, Confirm, Field, Notice
from tui.links import LinksPane
from tui.listing import Listing
from tui.qr import QrScreen
from tui.rows import (
    CONFLICT_HEADINGS,
    DEVICE_HEADINGS,
    FOLDER_HEADINGS,
    NOTICE_HEADINGS,
    RELAY_HEADINGS,
    TROUBLE_HEADINGS,
    Rates,
    conflict_lines,
    device_lines,
    folder_lines,
    headline,
    notice_lines,
    question_of,
    relay_lines,
    trouble_lines,
)
from tui.search import SearchScreen
from tui.settings import SettingsScreen
from tui.trail import TrailScreen
from tui.transfers import TRANSFER_HEADINGS, Speeds, done_of, transfer_lines
from tui.versions import VersionsScreen
from tui.welcome import WelcomeScreen, started_daemon

LOOK_INTERVAL_S: Final = 1.0
LOOK_PAUSE_S: Final = 0.25
"""Between two looks, however much happens."""
UNTOLD_EVERY: Final = 10
"""Seconds between looks at what no event tells: relays, sizes, last seen."""
TOASTS_MAX: Final = 3
"""New notices that are shown for a moment, at one look; the rest is on the board."""
SEVERITIES: Final[dict[str, Severity]] = {"trouble": "error", "question": "warning"}
NO_DEVICE: Final = "There is no device of yours here yet. Press r to make one."
NO_DAEMON: Final = "The daemon is not running. Press r to run it."
STARTING: Final = "The daemon is starting…"
CONFLICTS_EVERY: Final = 10
"""Looks: the walk takes 25 ms of 100,000 files."""
TABS: Final = {
    "folders": "1 Folders", "devices": "2 Devices", "trouble": "3 Not synced",
    "conflicts": "4 Conflicts", "relays": "5 Relays", "news": "6 News", "links": "7 Links",
    "backup": "8 Backup",
}  # fmt: skip
ACTS: Final = (
    "add", "invite", "pause", "search", "versions", "attach", "remove", "compare", "decide",
    "answer", "mark", "start", "trail",
)  # fmt: skip
"""What is shown only where it can be done."""


class MainScreen(Screen[None]):
    """One device."""

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
        Binding("a", "add", "Add", tooltip="Sync a directory, or meet at a relay"),
        Binding("t", "attach", "Attach", tooltip="Put an offered folder on this device"),
        Binding("p", "pause", "Pause", tooltip="Let a folder rest, or go on"),
        Binding("v", "versions", "Versions", tooltip="What files were, and bring them back"),
        Binding("d", "remove", "Remove", tooltip="A folder, device or relay less"),
        Binding("o", "compare", "Compare", tooltip="The file and the copy side by side"),
        Binding("f", "decide('original')", "File", tooltip="Keep the file; the copy goes"),
        Binding("c", "decide('copy')", "Copy", tooltip="The copy takes the file's place"),
        Binding("b", "decide('both')", "Both", tooltip="Keep both, each under its own name"),
        Binding("y", "answer('accept')", "Meant", tooltip="The changes were meant: tell others"),
        Binding("n", "answer('restore')", "Bring back", tooltip="They were not: bring it back"),
        Binding("m", "mark", "Mark read", tooltip="The chosen notice was read"),
        Binding("M", "mark_all", "All read", tooltip="All notices were read"),
        Binding("i", "invite", "Invite", tooltip="A code that makes another device yours"),
        Binding("slash", "search", "Find", tooltip="Files by name, type, date and size"),
        Binding("l", "trail", "Log", tooltip="Who did what"),
        Binding("comma", "settings", "Setup", tooltip="What is set, and other values"),
        Binding("question_mark", "app.toggle_keys", "Keys", tooltip="All keys"),
        ("q", "app.quit", "Quit"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon
        self._status: Status | None = None
        self._rates = Rates()
        self._found_conflicts: Sequence[ConflictEntry] = ()
        self._looks = self._ticks = 0
        self._is_told = self._is_due = False
        self._possible: tuple[bool | None, ...] = ()
        self._headline = Static("Looking for the daemon…", id="headline", markup=False)
        self._question = Static("", id="question", markup=False)
        self._tabs = TabbedContent(initial="folders")
        no_folders, no_relay = "No folders yet. Press a to sync one.", "Press a to use a relay."
        self._lists = {
            "folders": Listing(FOLDER_HEADINGS, no_folders, id="folder-list"),
            "devices": Listing(DEVICE_HEADINGS, "", id="device-list"),
            "trouble": Listing(TROUBLE_HEADINGS, "Everything is synced.", id="trouble-list"),
            "conflicts": Listing(CONFLICT_HEADINGS, "No conflicts.", id="conflict-list"),
            "relays": Listing(RELAY_HEADINGS, no_relay, id="relay-list"),
            "backup": Listing(BACKUP_HEADINGS, NO_BACKUPS, id="backup-list"),
            "news": Listing(NOTICE_HEADINGS, "Nothing to hear of.", id="news-list"),
        }
        self._links = LinksPane(daemon)
        self._lists["links"] = self._links.listing
        self._transfers = Listing(TRANSFER_HEADINGS, "", id="transfer-list")
        self._speeds = Speeds()
        self._detail = Static("", id="line-detail", markup=False)
        self._is_lost = self._is_empty = self._is_starting = self._was_welcomed = False
        self._invitation: QrScreen | None = None
        self._last_heard: int | None = None
        """The newest notice that was there before; None while nobody has looked."""

    def compose(self) -> ComposeResult:
        """The line that says it all, what is asked, and a table for each subject."""
        yield self._headline
        yield self._question
        with self._tabs:
            for tab, title in TABS.items():
                with TabPane(title, id=tab):
                    yield self._links if tab == "links" else self._lists[tab]
                    if tab == "folders":
                        yield self._transfers
        yield self._detail
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begins to look."""
        self._lists["folders"].focus()
        self.set_interval(LOOK_INTERVAL_S, self._tick)
        self.run_worker(self._follow(), group="follow")
        self.look()

    # ------------------------------------------------------------ looking

    async def _follow(self) -> None:
        """Looks when something has happened, as long as the daemon tells of it."""
        last_id: str | None = None
        while True:
            try:
                async for told, _ in self._daemon.events(last_id):
                    last_id, self._is_told = told, True
                    self.look()
            except PeerError:
                pass  # the next look says what is wrong
            self._is_told = False
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _tick(self) -> None:
        """Looks where nothing is told: while something moves, and every so often anyway."""
        self._ticks += 1
        if not self._is_told or self._is_moving or self._ticks % UNTOLD_EVERY == 0:
            self.look()

    @property
    def _is_moving(self) -> bool:
        return bool(self._rates.words()) or any(
            folder["state"] in (FolderState.SYNCING, FolderState.SCANNING)
            for folder in self._all_folders()
        )

    def look(self) -> None:
        """Asks the daemon how everything stands; once more when it has answered, if it is being
        asked already.
        """
        self._is_due = any(w.group == "look" and w.is_running for w in self.workers)
        if not self._is_due:
            self.run_worker(self._look_and_again(), group="look")

    async def _look_and_again(self) -> None:
        while True:
            self._is_due = False
            await self._look()
            await asyncio.sleep(LOOK_PAUSE_S)
            if not self._is_due:
                return

    async def _look(self) -> None:
        try:
            status = await self._daemon.status()
            devices = (await self._daemon.devices())["devices"]
            relays = await self._daemon.relays()
            conflicts = await self._conflicts()
            notices = await self._daemon.notifications()
            await self._look_closer(status)
        except PeerError as error:
            if not self.is_attached:
                return
            self._status, self._is_lost = None, isinstance(error, DaemonNotRunning | NoDevice)
            self._is_empty = isinstance(error, NoDevice)
            if self._is_empty:
                self._welcome()
            if self._is_empty:
                told = NO_DEVICE
            elif self._is_lost:
                told = STARTING if self._is_starting else NO_DAEMON
            else:
                told = term_safe(str(error))
            self._headline.update(told)
            self._headline.set_class(not (self._is_empty or self._is_starting), "lost")
            self._refresh_keys()
            return
        if not self.is_attached:
            return  # the person has left meanwhile
        self._status, self._is_lost, self._is_empty = status, False, False
        if isinstance(self.app.screen, WelcomeScreen):
            self.app.screen.dismiss(None)  # it was made by another hand
        self._rates.note(status["totals"], time.monotonic())
        self._show(status, relays, notices["unread"])
        self._hear(notices["notifications"])
        self._lists["devices"].show(device_lines(status, devices))
        if conflicts is not None:
            self._found_conflicts = conflicts
            self._lists["conflicts"].show(conflict_lines(conflicts))

    async def _look_closer(self, status: Status) -> None:
        """What is asked for only where somebody sees it, or something moves."""
        folders = status["folders"]
        if any(one["need_bytes"] for one in folders):
            found = await self._daemon.transfers()
            entries, more = found["transfers"], found["more"]
        else:
            entries, more = [], 0
        backups = await self._daemon.backups() if self._tab == "backup" else None
        if not self.is_attached:
            return
        self._speeds.note(done_of(folders, entries), time.monotonic())
        self._transfers.show(transfer_lines(folders, entries, more, self._speeds))
        self._transfers.set_class(bool(self._transfers.row_count), "moving")
        if backups is not None:
            self._lists["backup"].show(backup_lines(backups["backups"]))
            told = summary(backups["backups"], backups["kit"])
            self._lists["backup"].border_subtitle = told or NO_BACKUPS

    async def _conflicts(self) -> Sequence[ConflictEntry] | None:
        """Every few looks, or when they are looked at: to find them, the daemon walks an index."""
        self._looks += 1
        if self._looks % CONFLICTS_EVERY != 1 and self._tab != "conflicts":
            return None
        return (await self._daemon.conflicts())["conflicts"]

    def _hear(self, notices: Sequence[NoticeEntry]) -> None:
        """Shows the board, and what is new on it for a moment wherever the person is."""
        self._lists["news"].show(notice_lines(notices))
        last = max((one["id"] for one in notices), default=0)
        if self._last_heard is not None and self._tab != "news":
            new = [n for n in notices if n["id"] > self._last_heard and not n["read"]]
            if self._invitation is self.app.screen and any(one["kind"] == "joined" for one in new):
                self._invitation.dismiss(None)  # it has done its work
            for one in new[:TOASTS_MAX]:
                severity = SEVERITIES.get(one["priority"], "information")
                self.notify(term_safe(one["text"]), severity=severity, markup=False)
        self._last_heard = last

    def _show(self, status: Status, relays: RelayList, unread: int) -> None:
        self._headline.remove_class("lost")
        self._headline.update(headline(status, self._rates, unread))
        self._lists["folders"].show(folder_lines(status))
        self._lists["trouble"].show(trouble_lines(status))
        self._lists["relays"].show(relay_lines(relays["relays"]))
        asked = question_of(status, self._chosen("folders"))
        self._question.update(f"{asked}  [y] They were meant  [n] Bring back what was there")
        self._question.set_class(bool(asked), "asked")
        self._refresh_keys()

    # ------------------------------------------------------------ what can be done

    @property
    def _tab(self) -> str:
        return self._tabs.active

    def _chosen(self, tab: str) -> str | None:
        return self._lists[tab].chosen

    def _folder(self) -> FolderStatus | None:
        if self._status is None or self._tab != "folders":
            return None
        chosen = self._chosen("folders")
        if self._transfers.has_focus:  # what is chosen there is a folder's, too
            chosen = (self._transfers.chosen or "").partition("/")[0]
        return next((f for f in self._status["folders"] if f["id"] == chosen), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        folder, is_there = self._folder(), self._status is not None
        match action:
            case "add":
                return is_there and self._tab in ("folders", "relays")
            case "invite" | "search" | "trail" | "settings":
                return is_there
            case "start":
                return self._is_lost and not is_there
            case "pause" | "versions":
                return folder is not None and folder["path"] is not None
            case "attach":
                return folder is not None and folder["path"] is None
            case "remove":
                is_placed = folder is not None and folder["path"] is not None
                return is_placed or (
                    is_there
                    and self._tab in ("devices", "relays")
                    and bool(self._chosen(self._tab))
                )
            case "decide" | "compare":
                return is_there and self._tab == "conflicts" and bool(self._chosen("conflicts"))
            case "mark" | "mark_all":
                return is_there and self._tab == "news" and bool(self._chosen("news"))
            case "answer":
                return is_there and any("question" in f for f in self._all_folders())
        return True

    def _refresh_keys(self) -> None:
        """Shows other keys if there are other acts: the footer is made anew, and flickers."""
        detail = self._lists[self._tab].detail if self._tab in self._lists else ""
        self._detail.update(detail)
        self._detail.set_class(bool(detail), "told")
        possible = tuple(self.check_action(act, ()) for act in ACTS)
        if possible != self._possible:
            self._possible = possible
            self.refresh_bindings()

    def _all_folders(self) -> list[FolderStatus]:
        return self._status["folders"] if self._status is not None else []

    def action_tab(self, tab: str) -> None:
        """Shows one of the tables."""
        self._tabs.active = tab
        self._lists[tab].focus()
        self._opened()

    def on_tabbed_content_tab_activated(self) -> None:
        """A tab by mouse: what can be done is another thing there."""
        self._opened()

    def _opened(self) -> None:
        """Another tab: what it shows may have to be asked for."""
        self._refresh_keys()
        if self._tab == "backup":
            self.look()
        elif self._tab == "links" and self._status is not None:
            folder = next((f for f in self._all_folders() if f["path"] is not None), None)
            self._links.place = f"{folder['path']}/" if folder is not None else ""
            self._links.action_look()

    def on_data_table_row_highlighted(self) -> None:
        """The same of another line."""
        self._refresh_keys()

    def on_data_table_row_selected(self) -> None:
        """Enter on a folder shows what was deleted from it, or asks for its path."""
        if self._tab == "conflicts":
            self.action_compare()
            return
        folder = self._folder()
        if folder is not None and folder["path"] is not None:
            self.action_versions()
        elif folder is not None:
            self.action_attach()

    def action_add(self) -> None:
        """A new folder, or a relay."""
        if self._tab == "relays":
            field = Field("address", "The address, as the relay prints it", "holdfast-relay://")
            self.app.push_screen(Ask("Meet at a relay", [field], "Add"), self._add_relay)
            return
        fields = [
            Field("path", "Its directory on this device", f"{Path.home()}/"),
            Field("name", "What it is called on every device"),
        ]
        self.app.push_screen(
            Ask("Sync a directory with your devices", fields, "Add"), self._add_folder
        )

    def _add_relay(self, values: dict[str, str] | None) -> None:
        if values is not None:
            self._do(self._daemon.add_relay(values["address"].strip()), "The relay is added.")

    def _add_folder(self, values: dict[str, str] | None) -> None:
        if values is not None:
            path, name = Path(values["path"].strip()).expanduser(), values["name"].strip()
            self._do(self._daemon.add_folder(path, name), f"{name} is offered to your devices.")

    def action_attach(self) -> None:
        """A folder of another device gets a place here."""
        folder = self._folder()
        if folder is None:
            return
        folder_id, name = folder["id"], folder["name"]

        def attach(values: dict[str, str] | None) -> None:
            if values is not None:
                path = Path(values["path"].strip()).expanduser()
                self._do(self._daemon.attach_folder(folder_id, path), f"{name} comes to {path}.")

        field = Field("path", "An existing directory on this device", f"{Path.home()}/")
        self.app.push_screen(
            Ask(f"Put {term_safe(name)} on this device", [field], "Attach"), attach
        )

    def action_pause(self) -> None:
        """A folder rests, or goes on."""
        folder = self._folder()
        if folder is not None:
            is_paused = folder["state"] != FolderState.PAUSED
            said = f"{folder['name']} is {'paused' if is_paused else 'going on'}."
            self._do(self._daemon.set_paused(folder["id"], is_paused), said)

    def action_versions(self) -> None:
        """What files of a folder were, and what was deleted from it."""
        folder = self._folder()
        if folder is not None and folder["path"] is not None:
            self.app.push_screen(VersionsScreen(self._daemon, folder["path"]))

    def action_search(self) -> None:
        """Find files by their names."""
        self.app.push_screen(SearchScreen(self._daemon))

    def action_remove(self) -> None:
        """A folder, a device or a relay less."""
        tab, chosen = self._tab, self._chosen(self._tab)
        if chosen is None:
            return
        acts = {
            "folders": (
                "Stop to sync this folder here? Its files stay.",
                self._daemon.remove_folder,
            ),
            "devices": (
                "Make this device yours no more, for good? It gets nothing from now on.",
                self._daemon.remove_device,
            ),
            "relays": ("Use this relay no more?", self._daemon.remove_relay),
        }
        question, act = acts[tab]

        def remove(is_meant: bool | None) -> None:
            if is_meant:
                self._do(act(chosen), "Removed.")

        self.app.push_screen(Confirm(question, "Remove"), remove)

    def action_invite(self) -> None:
        """A code that makes another device the user's."""
        self.run_worker(self._invite())

    async def _invite(self) -> None:
        try:
            made = await self._daemon.invite()
        except PeerError as error:
            self._tell(error)
            return
        if not self.is_attached:
            return
        code = made["code"]
        text = ["On the other device: `holdfast tui`, then j, and type this code; or"]
        text.append(f"    holdfast join {code} --name NAME")
        text += [f"On another network, say where: {relay}" for relay in made["relays"]]
        text.append(f"It holds for {made['expires_s'] / 60:.0f} minutes, for one device.")
        told = "\n".join(map(term_safe, text))
        self._invitation = QrScreen("Invite a device", term_safe(code), told)
        self.app.push_screen(self._invitation)

    def action_compare(self) -> None:
        """The file and the copy side by side."""
        chosen = self._chosen("conflicts")
        found = next((one for one in self._found_conflicts if one["place"] == chosen), None)
        if found is not None:
            self.app.push_screen(ConflictScreen(self._daemon, found))

    def action_trail(self) -> None:
        """Who did what."""
        self.app.push_screen(TrailScreen(self._daemon))

    def action_settings(self) -> None:
        """What is set."""
        self.app.push_screen(SettingsScreen(self._daemon))

    def action_start(self) -> None:
        """Runs the daemon, which stays when the screen is left; without a device, makes one."""
        if self._is_empty:
            self._was_welcomed = False
            self._welcome()
            return
        self._headline.update(STARTING)
        self.run_worker(self._start(), group="start", exclusive=True)

    async def _start(self) -> None:
        self._is_starting = True
        try:
            problem = await started_daemon(self._daemon.home)
        finally:
            self._is_starting = False
        if problem and self.is_attached:
            self.notify(term_safe(problem), severity="error", markup=False)
        self.look()

    def _welcome(self) -> None:
        """There is no device here: once, ask what kind it is to be."""
        if self._was_welcomed:
            return
        self._was_welcomed = True
        self.app.push_screen(WelcomeScreen(self._daemon.home), self._made)

    def _made(self, kit: str | None) -> None:
        """There is a device: it is run, and its kit is shown once."""
        if kit is None:
            return
        self._is_empty = False
        self.action_start()
        if kit:
            told = (
                "It brings everything back if you lose all your devices. Print it or write it down"
                " now: it is shown once, and stored nowhere."
            )
            self.app.push_screen(Notice("Your recovery kit", term_safe(kit), told))

    def action_decide(self, choice: str) -> None:
        """What becomes of a conflict copy."""
        chosen = self._chosen("conflicts")
        if chosen is not None:
            self._do(self._daemon.resolve(chosen, Choice(choice)), Choice(choice).outcome)

    def action_mark(self) -> None:
        """The chosen notice was read."""
        chosen = self._chosen("news")
        if chosen is not None:
            self._do(self._daemon.mark_as_read([int(chosen)]))

    def action_mark_all(self) -> None:
        """All were read."""
        self._do(self._daemon.mark_as_read(None), "All are marked as read.")

    def action_answer(self, answer: str) -> None:
        """The person's word on many changes."""
        asking = [f for f in self._all_folders() if "question" in f]
        chosen = self._chosen("folders")
        asking.sort(key=lambda f: f["id"] != chosen)
        if asking:
            said = f"{asking[0]['name']}: your answer is {answer}."
            self._do(self._daemon.answer(asking[0]["id"], HoldAnswer(answer)), said)

    def _do(self, work: Coroutine[Any, Any, object], said: str = "") -> None:
        self.run_worker(self._carry_out(work, said))

    async def _carry_out(self, work: Coroutine[Any, Any, object], said: str) -> None:
        try:
            await work
        except PeerError as error:
            self._tell(error)
            return
        if self.is_attached:
            if said:
                self.notify(term_safe(said), markup=False)
            self.look()

    def _tell(self, error: PeerError) -> None:
        self.notify(term_safe(str(error)), severity="error", markup=False)
