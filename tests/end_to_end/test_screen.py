"""What the README promises of the screen, by its keys alone: two people's first evening with two
devices, in two real terminals, in front of real daemons.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.command_line.demo_device import find_free_port
from peer.control.control_client import ControlClient
from peer.errors import PeerError
from tests.end_to_end.device import wait_until
from tests.end_to_end.pane import PATIENCE_S, Pane
from tests.end_to_end.test_share_links import WebRelay

OLD, NEW = "We meet at the walnut tree.\n", "We meet at the station.\n"


class Person:
    """Somebody in front of `holdfast tui`, who has a directory and no device yet."""

    def __init__(self, directory: Path, name: str, size: tuple[int, int]) -> None:
        self.name, self.port = name, find_free_port()
        own = directory / name
        self.home, self.folder = own / "home", own / "letters"
        self.home.mkdir(mode=0o700, parents=True)
        self.folder.mkdir()
        (self.home / "config.toml").write_text(
            f'[network]\nlisten = ["127.0.0.1:{self.port}"]\ndiscovery = false\n'
        )
        words = [sys.executable, "-P", "-m", "peer", "--home", str(self.home), "tui"]
        self.pane = Pane(directory / f"{name}.tmux", words, size, own)
        self.client = ControlClient(self.home)

    def stop_daemon(self) -> None:
        """As a service manager does, or an update."""
        with contextlib.suppress(PeerError):
            self.client.stop()
        wait_until(self._is_stopped, f"the daemon of {self.name} to stop", PATIENCE_S)

    def _is_stopped(self) -> bool:
        """Its process has ended, and not only its answers."""
        ours = f"--home\0{self.home}\0run".encode()
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if ours in process.read_bytes():
                    return False
        return True


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[Person, Person]]:
    people: list[Person] = []
    try:
        people += [Person(tmp_path, "laptop", (80, 24))]
        people += [Person(tmp_path, "desktop", (100, 30))]
        yield people[0], people[1]
    finally:
        for one in people:
            one.pane.close()
            one.stop_daemon()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[WebRelay]:
    relay = WebRelay(tmp_path / "relay-home")
    try:
        yield relay
    finally:
        relay.kill()


@pytest.mark.timeout(900)
def test_two_devices_live_by_the_screen_alone(
    tmp_path: Path, people: tuple[Person, Person], relay: WebRelay
) -> None:
    laptop, desktop = people
    pair(laptop, desktop, relay)
    arrive(laptop, desktop)
    share(laptop, tmp_path / "got")
    restore_what_was_found(laptop, desktop)
    decide_after_a_restart(laptop, desktop)


def pair(laptop: Person, desktop: Person, relay: WebRelay) -> None:
    one, other = laptop.pane, desktop.pane
    one.until("Is it your first")
    one.press("n")
    one.until("Your first device")
    one.fill("What your other devices call this one", "laptop")
    one.press("Enter")
    one.until("Your recovery kit")
    one.press("w")
    one.until(r"laptop · no folders yet")
    one.press("5")
    one.until("Press a to use a relay")
    one.press("a")
    one.until("Meet at a relay")
    one.fill("The address", relay.address)
    one.press("Enter")
    one.until("● +127.0.0.1:[0-9]+ +connected")
    one.press("1")
    one.until("No folders yet")
    one.press("i")
    code = one.until(r"holdfast join (\S+) --name")[1]

    other.until("Is it your first")
    other.press("j")
    other.until("One more of your devices")
    other.fill("The code", "7-walnut-nonsense")
    other.press("Enter")
    other.fill("What your other devices call this one", "desktop")
    other.press("Enter")
    other.fill("On another network", f"127.0.0.1:{laptop.port}")
    other.press("Enter")
    other.until('"walnut" is not|"nonsense" is not')
    other.press("j")  # what else was typed is there still
    other.until(rf"desktop(.|\n)*127.0.0.1:{laptop.port}")
    other.fill("The code", code)
    other.press("Enter")
    other.fill("What your other devices call this one", "desktop")
    other.press("Enter")
    other.fill("On another network", f"127.0.0.1:{laptop.port}")
    other.press("Enter")
    other.until("desktop · no folders yet · 1 device connected")
    one.until("laptop · no folders yet · 1 device connected")  # the invitation has closed itself


def arrive(laptop: Person, desktop: Person) -> None:
    one, other = laptop.pane, desktop.pane
    (laptop.folder / "plan.txt").write_text(OLD)
    one.press("a")
    one.until("Sync a directory")
    one.fill("Its directory", "letters", is_added=True)  # its own directory stands there
    one.press("Enter")
    one.fill("What it is called", "letters")
    one.press("Enter")
    one.until("● +letters +in sync +1 ")
    other.until("○ +letters +offered")
    other.press("t")
    other.until("Put letters on this device")
    other.fill("An existing directory", "letters", is_added=True)
    other.press("Enter")
    other.until("● +letters +in sync +1 ")
    assert (desktop.folder / "plan.txt").read_text() == OLD


def share(laptop: Person, into: Path) -> None:
    one = laptop.pane
    one.press("7")
    one.until("a Share ")  # keys are those of where one is
    one.press("a")
    one.until("Share by a link")
    one.fill("What to share", "plan.txt", is_added=True)  # the folder stands there
    one.press("Enter")
    one.fill("For how many days", "2")
    one.press("Enter")
    one.fill("How often", "3")
    one.press("Enter")
    one.fill("A password", "")
    one.press("Enter")
    start = one.until(r"http://\S+/s/\S{22}#")[0]
    one.press("Escape")
    one.until("plan.txt .*live")
    (link,) = laptop.client.request("GET", "/api/links", None, 60)["links"]
    assert link["url"].startswith(start)
    words = [sys.executable, "-P", "-m", "peer", "get", link["url"], "-o", str(into)]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    assert (into / "plan.txt").read_text() == OLD


def restore_what_was_found(laptop: Person, desktop: Person) -> None:
    other = desktop.pane
    (laptop.folder / "plan.txt").write_text(NEW)
    wait_until(lambda: (desktop.folder / "plan.txt").read_text() == NEW, "the edit", PATIENCE_S)
    other.press("/")
    other.until("What are you looking for")
    other.write("station")
    other.until("letters +plan.txt")
    other.press("Enter")
    other.until(r"1 +plan.txt(.|\n)*Other path")
    other.press("Down")
    other.until("walnut tree")
    other.press("r")
    other.until("Put version 1 back")
    other.press("y")
    other.until("Brought back")
    for person in (laptop, desktop):
        wait_until(
            lambda at=person.folder / "plan.txt": at.read_text() == OLD,  # type: ignore[misc]
            f"the version at {person.name}",
            PATIENCE_S,
        )
    other.press("Escape")
    other.until("What are you|station")
    other.press("Escape")
    other.until("● +letters +in sync")


def decide_after_a_restart(laptop: Person, desktop: Person) -> None:
    one, other = laptop.pane, desktop.pane
    one.press("1")
    one.until("● +letters +in sync")
    desktop.stop_daemon()
    other.until("not running")
    at = (laptop.folder / "plan.txt", desktop.folder / "plan.txt")
    at[0].write_text("We meet at noon.\n")
    at[1].write_text("We meet at four.\n")
    other.press("r")
    other.until("● +letters +in sync +2 (.|\n)*Invite")
    other.press("4")
    # The row, and not the news of it, which names the copy as well.
    other.until(r"\? .* letters +plan\.txt *\n(.|\n)*\n plan \(conflict (.|\n)*Compare")
    other.press("o")
    other.until("meet at (noon|four)(.|\n)*meet at (noon|four)(.|\n)*Both")
    other.press("c")
    other.until("No conflicts")

    def is_one() -> bool:
        names = {path.name for person in (laptop, desktop) for path in person.folder.iterdir()}
        return names == {".holdfast", "plan.txt"} and at[0].read_text() == at[1].read_text()

    wait_until(is_one, "one text on both", PATIENCE_S)
