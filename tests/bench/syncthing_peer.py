"""Two Syncthing instances on loopback, driven through their REST API: the peer that ours is
measured against.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from tests.bench.machine import wait_for, with_children

PROGRAM = os.environ.get("SYNCTHING", "syncthing")
PORT, REST_PORT = 23000, 24000
WATCHER_DELAY_S = 1
"""Its least; its default is 10 s."""
SWITCHED_OFF = (
    "globalAnnounceEnabled",
    "localAnnounceEnabled",
    "relaysEnabled",
    "natEnabled",
    "crashReportingEnabled",
    "startBrowser",
)


class Syncthing:
    """A pair that syncs `folders[0]` to `folders[1]`, over TLS (`tcp`) or over `quic`."""

    def __init__(self, root: Path, transport: str = "tcp") -> None:
        self.root = root
        self.folders = [root / "a", root / "b"]
        self._transport = transport
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make both instances, each knowing the other and the folder, and connect them."""
        shutil.rmtree(self.root, ignore_errors=True)
        for folder in self.folders:
            folder.mkdir(parents=True)
        devices = [self._generate(number) for number in (0, 1)]
        for number in (0, 1):
            self._configure(number, devices)
            self._run(number)
        wait_for(self._is_connected, "a connection of Syncthing", 60, poll_s=0.2)

    def restart(self) -> None:
        """Stop both instances and start them again."""
        self.stop()
        self._run(0)
        self._run(1)

    def is_in_sync(self) -> bool:
        """Whether both sides say so, connected."""
        statuses = [self._rest(number, "db/status?folder=f") for number in (0, 1)]
        return self._is_connected() and all(
            status["state"] == "idle" and status["needFiles"] == 0 and status["globalFiles"]
            for status in statuses
        )

    def kick(self) -> None:
        """The best case for it: a scan is asked for at once instead of waiting for its watcher."""
        self._rest(0, "db/scan?folder=f", "POST")

    def sent_bytes(self) -> int:
        """What the first instance has sent."""
        sent: int = self._rest(0, "system/connections")["total"]["outBytesTotal"]
        return sent

    def pids(self) -> list[int]:
        """Both instances and what they started."""
        return with_children([daemon.pid for daemon in self._daemons])

    def stop(self) -> None:
        """Stop both instances."""
        for daemon in self._daemons:
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            daemon.wait(20)
        self._daemons = []

    def _home(self, number: int) -> Path:
        return self.root / f"home{number}"

    def _generate(self, number: int) -> str:
        """A home with keys; the device's id."""
        program = [PROGRAM, "generate", f"--home={self._home(number)}"]
        subprocess.run(program, capture_output=True, check=True)
        text = (self._home(number) / "config.xml").read_text()
        found = re.search(r'<device id="([A-Z0-9-]{63})"', text)
        assert found is not None
        return found.group(1)

    def _configure(self, number: int, devices: list[str]) -> None:
        path = self._home(number) / "config.xml"
        text = re.sub(r"<folder .*?</folder>\s*", "", path.read_text(), count=1, flags=re.DOTALL)
        text = re.sub(r"<device .*?</device>\s*", "", text, flags=re.DOTALL)
        known = "".join(
            f'<device id="{device}" name="d{other}" compression="metadata">'
            f"<address>{self._transport}://127.0.0.1:{PORT + other}</address></device>"
            for other, device in enumerate(devices)
        )
        shared = "".join(f'<device id="{device}"/>' for device in devices)
        folder = (
            f'<folder id="f" label="f" path="{self.folders[number]}" type="sendreceive" '
            f'rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="{WATCHER_DELAY_S}" '
            f'autoNormalize="true">{shared}</folder>'
        )
        gui = (
            f'<gui enabled="true" tls="false"><address>127.0.0.1:{REST_PORT + number}</address>'
            f"<apikey>key{number}</apikey></gui>"
        )
        listen = f"{self._transport}://127.0.0.1:{PORT + number}"
        text = text.replace("</configuration>", f"{known}{folder}</configuration>")
        text = re.sub(r"<gui.*?</gui>", gui, text, flags=re.DOTALL)
        for name, value in (
            ("listenAddress", listen),
            ("urAccepted", "-1"),
            ("reconnectionIntervalS", "1"),
            *((name, "false") for name in SWITCHED_OFF),
        ):
            text = re.sub(rf"<{name}>.*?</{name}>", f"<{name}>{value}</{name}>", text)
        path.write_text(text)

    def _run(self, number: int) -> None:
        with (self.root / f"log{number}").open("ab") as log:
            program = [
                PROGRAM,
                "serve",
                f"--home={self._home(number)}",
                "--no-browser",
                "--no-restart",
            ]
            self._daemons.append(subprocess.Popen(program, stdout=log, stderr=log))

    def _is_connected(self) -> bool:
        connections = self._rest(0, "system/connections")["connections"]
        return any(connection["connected"] for connection in connections.values())

    def _rest(self, number: int, path: str, method: str = "GET") -> Any:
        url = f"http://127.0.0.1:{REST_PORT + number}/rest/{path}"
        request = urllib.request.Request(url, headers={"X-API-Key": f"key{number}"}, method=method)
        with urllib.request.urlopen(request, timeout=100) as answer:
            body = answer.read()
        return json.loads(body) if body else None
