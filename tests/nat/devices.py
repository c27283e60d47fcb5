"""Devices and a relay in the lab: the real programs, each in a network of the lab."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from peer.status import LinkStatus
from tests.end_to_end.device import FOLDER, Device, Refused, attach, wait_for_same, wait_until
from tests.end_to_end.nursery import Nursery
from tests.nat.lab import WORLD, WORLD6, Home, World
from tests.nat.namespaces import Namespace

RELAY_PORT: Final = 4433
RELAY_NAME: Final = "relay.example"
"""It has an address of each kind: a device takes what it can reach."""
COMMAND_TIMEOUT_S: Final = 90.0
_NUMBERS: Final = itertools.count()


class Site:
    """A lab with a relay at work in it, and where its devices' files are."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hosts = directory / "hosts"
        self.hosts.write_text(f"{WORLD}.2 {RELAY_NAME}\n{WORLD6}2 {RELAY_NAME}\n")
        self.nursery = Nursery()
        self._devices: list[SiteDevice] = []
        self._free_ports: dict[Namespace, Iterator[int]] = {}
        try:
            self.world = World()
            self.relay = SiteRelay(self, directory / "relay")
            self.relay.start()
        except BaseException:
            self.nursery.end()
            raise

    def device(self, name: str, home: Home, host: int = 0) -> SiteDevice:
        """A device that is not set up yet, on a host of a home."""
        space, inner = home.hosts[host], home.inner[host]
        port = next(self._free_ports.setdefault(space, iter([own for own, _ in inner.ports()])))
        device = SiteDevice(self, name, home, space, port)
        self._devices.append(device)
        return device

    def close(self) -> None:
        """Ends everything."""
        for device in self._devices:
            with contextlib.suppress(AssertionError):
                device.kill()
        with contextlib.suppress(AssertionError):
            self.relay.kill()
        self.nursery.end()
        self.world.close()


class SiteRelay:
    """`holdfast relay run`, in the world."""

    def __init__(self, site: Site, home: Path, port: int = RELAY_PORT) -> None:
        self._site, self._home, self._port = site, home, port
        self._fingerprint = ""
        home.mkdir(parents=True)

    @property
    def address(self) -> str:
        """What devices are told."""
        return f"holdfast-relay://{RELAY_NAME}:{self._port}#{self._fingerprint}"

    def start(self) -> None:
        """Starts it, and returns when it listens."""
        out = self._home / f"out-{next(_NUMBERS)}"
        words = ["--home", str(self._home), "relay", "run", "--listen", f"[::]:{self._port}"]
        self._process = self._site.nursery.start(
            [*words, "--json"], out, network=self._site.world.relay_host.path,
            errors=self._home / "log",
        )  # fmt: skip
        wait_until(lambda: out.exists() and out.read_text().endswith("\n"), self._log)
        self._fingerprint = json.loads(out.read_text())["address"].rpartition("#")[2]

    def _log(self) -> str:
        return "the relay to start: " + (self._home / "log").read_text(errors="replace")

    def kill(self) -> None:
        """Ends it as a power cut does."""
        self._process.kill()
        self._process.wait(20)


class SiteDevice(Device):
    """A device on a host of the lab; its commands and its daemon run in that host's network."""

    def __init__(self, site: Site, name: str, home: Home, space: Namespace, port: int) -> None:
        super().__init__(site.directory / f"device-{next(_NUMBERS)}", name)
        self.site, self.place, self.space, self.port = site, home, space, port
        self.nursery = site.nursery
        self.discovery = False
        """Whether it says on its LAN that it is there."""
        self.config = f'[network]\nlisten = ["0.0.0.0:{port}", "[::]:{port}"]\n'

    def command(self, *words: str) -> dict[str, Any]:
        """One command; its JSON, or Refused."""
        out = self.home.parent / f"command-{next(_NUMBERS)}"
        errors = out.with_suffix(".errors")
        process = self.site.nursery.start(
            ["--home", str(self.home), *words, "--json"], out, network=self.space.path,
            errors=errors, hosts=self.site.hosts,
        )  # fmt: skip
        code = process.wait(COMMAND_TIMEOUT_S)
        if code:
            raise Refused(code, errors.read_text().strip())
        answer: dict[str, Any] = json.loads(out.read_text())
        return answer

    def launch(self, is_traced: bool = False) -> None:
        """Starts the daemon without waiting for it."""
        assert self.process is None
        (self.home / "config.toml").write_text(self.config)
        words = ["--home", str(self.home), "run", "--links", self.links]
        words += [] if self.discovery else ["--no-discovery"]
        self.process = self.site.nursery.start(
            words, self.log, is_traced, network=self.space.path, hosts=self.site.hosts
        )

    def link(self) -> LinkStatus | None:
        """Its link, of which there is one at most."""
        links = self.status()["links"]
        return links[0] if links else None

    def way(self) -> str:
        """The path of its link; `none` without one."""
        link = self.link()
        return "none" if link is None else link["path"]

    def problem(self) -> str:
        """Why its link is not a direct one, as it says."""
        link = self.link()
        return "" if link is None else link["direct_problem"]

    def is_at_relay(self) -> bool:
        """Whether it has a link to its relay."""
        return all(relay["connected"] for relay in self.client.relays()["relays"])


def found_through_relay(one: SiteDevice, other: SiteDevice) -> None:
    """Two devices of a new user, who met at the relay by a code; both run."""
    one.command("init", "--name", one.name)
    one.start()
    one.command("relay", "add", one.site.relay.address)
    wait_until(one.is_at_relay, lambda: f"the relay: {one.log_tail()}")
    code = one.command("invite")["code"]
    other.command("join", code, "--relay", other.site.relay.address, "--name", other.name)
    other.start()


def share_tree(one: SiteDevice, other: SiteDevice) -> None:
    """A small tree of files of all sorts from both sides, the same on both afterwards."""
    for number in range(12):
        directory = one.folder / f"d{number % 3}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_bytes(bytes([number]) * (number * number * 500))
    (other.folder / "from the other").write_bytes(b"x" * 200_000)
    one.command("folder", "add", str(one.folder), "--name", FOLDER)
    attach(other)
    wait_for_same(one, other)
