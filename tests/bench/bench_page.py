"""The page of share links with a large file: `python -m tests.bench.bench_page [--mib 1024]`.

One link to one file of random bytes, on loopback, opened by the system's Chromium without a window:
saved by the service worker's stream as a download, and by the file system's interface into the
browser's own; over plain HTTP/1.1, or with `--protocol h2` or `h3` over TLS. Lines say the rate
from the click to the file's end, the most anonymous memory that the page's own process had, and
what all processors did for it. Nothing fails here: the figures are for ARCHITECTURE.md.

The browser is told what to do through its debugger's pipe and by nothing else: what drives it in
the tests has it keep a copy of everything that it fetches, for whoever wants to look.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay.web_files import PageFiles
from relay.web_server import SELF_SIGNED_NAME
from tests.bench.machine import cpu_s
from tests.relay.browsing import CHROMIUM, NO_PICKER, PRIVATE_PICKER
from tests.relay.made_links import LinkMaker, address_of, put
from tests.relay.relay_stage import LOOPBACK
from tests.relay.test_page import key_hash
from tests.relay.web_stage import web_stage

SAMPLE_S = 0.05
DEADLINE_S = 600.0
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")


class Debugger:
    """A browser, and the pipe by which it is told what to do."""

    def __init__(self, profile: Path, flags: Sequence[str]) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The browser reads the third descriptor and writes the fourth.
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            [
                "bash",
                "-c",
                shell,
                CHROMIUM,
                *FLAGS,
                *flags,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._heard = b""
        self._number = 0
        self._session = ""

    def attach(self) -> None:
        """To its one page."""
        while True:
            targets = self.ask("Target.getTargets")["targetInfos"]
            pages = [target for target in targets if target["type"] == "page"]
            if pages:
                break
            time.sleep(SAMPLE_S)
        page = {"targetId": pages[0]["targetId"], "flatten": True}
        self._session = self.ask("Target.attachToTarget", **page)["sessionId"]

    def ask(self, method: str, **parameters: Any) -> Any:
        """One command and its answer."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._hear()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """What the script comes to, as if a person had done it."""
        result = self.ask("Runtime.evaluate", expression=script, userGesture=True)
        return result["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Until the script comes to something true."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.evaluate(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(SAMPLE_S)

    def close(self) -> None:
        """Ends the browser."""
        self.process.terminate()
        self.process.wait()
        os.close(self._read)
        os.close(self._write)

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._heard:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser has ended"
            self._heard += piece
        message, self._heard = self._heard.split(b"\0", 1)
        heard: dict[str, Any] = json.loads(message)
        return heard


@contextmanager
def browser(flags: Sequence[str]) -> Iterator[tuple[Debugger, Path]]:
    """A browser with a page, and where its downloads go."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        debugger = Debugger(Path(directory) / "profile", flags)
        try:
            debugger.attach()
            yield debugger, Path(directory)
        finally:
            debugger.close()


def everyone() -> list[int]:
    """This process, which serves, and all that it started."""
    pids = [os.getpid()]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
    return pids


def page_memory() -> int:
    """The most anonymous memory of a process that runs a page, in bytes."""
    most = 0
    for pid in everyone():
        process = Path(f"/proc/{pid}")
        if b"--type=renderer" in (process / "cmdline").read_bytes():
            lines = (process / "status").read_text().splitlines()
            most = max([most, *(int(i.split()[1]) << 10 for i in lines if i.startswith("RssAnon"))])
    return most


def measure(address: str, size: int, what: str, script: str, flags: Sequence[str]) -> None:
    """One download, and its line."""
    with browser(flags) as (debugger, directory):
        debugger.ask("Page.enable")
        debugger.ask("Page.addScriptToEvaluateOnNewDocument", source=script)
        behaviour = {"behavior": "allow", "downloadPath": str(directory)}
        debugger.ask("Page.setDownloadBehavior", **behaviour)
        debugger.ask("Page.navigate", url=address)
        debugger.wait_for("document.querySelector('.ready [data-slot=save]') !== null")
        before, started, most = cpu_s(everyone()), time.monotonic(), 0
        debugger.evaluate("document.querySelector('.ready [data-slot=save]').click()")
        while not debugger.evaluate("document.querySelector('[data-kind]') !== null"):
            most = max(most, page_memory())
            time.sleep(SAMPLE_S)
        while script == NO_PICKER and not (directory / "large.bin").exists():
            time.sleep(SAMPLE_S)
        took = time.monotonic() - started
        used = cpu_s(everyone()) - before
        kind = debugger.evaluate("document.querySelector('[data-kind]').dataset.kind")
        used_protocol = debugger.evaluate(
            "[...new Set(performance.getEntriesByType('resource').map((r) => r.nextHopProtocol))]"
            ".join()"
        )
    print(
        f"{what:<32}{size / took / 1e6:>8.0f} MB/s{most / 1e6:>8.0f} MB"
        f"{used:>8.1f} s of processors, {kind}, {used_protocol}",
        flush=True,
    )


def flags_of(protocol: str, home: Path, port: int) -> list[str]:
    """What has the browser speak it, and believe a certificate that nobody signed."""
    if protocol == "http/1.1":
        return []
    trust = f"--ignore-certificate-errors-spki-list={key_hash(home / SELF_SIGNED_NAME)}"
    quic = f"--origin-to-force-quic-on={LOOPBACK}:{port}"
    return [trust, quic] if protocol == "h3" else [trust]


async def run(mib: int, protocol: str) -> None:
    """Serves the link, and measures beside it."""
    size = mib << 20
    with tempfile.TemporaryDirectory() as home:
        is_tls = protocol != "http/1.1"
        async with web_stage(Path(home), is_tls=is_tls, files=PageFiles.load()) as web:
            link, packs = LinkMaker("bench of the page").make({"large.bin": os.urandom(size)})
            await put(web.links, link, packs)
            address = f"http{'s' * is_tls}://{LOOPBACK}:{web.port}{address_of(link)}"
            flags = flags_of(protocol, Path(home), web.port)
            for what, script in (
                ("download, service worker", NO_PICKER),
                ("chosen file", PRIVATE_PICKER),
            ):
                await asyncio.to_thread(measure, address, size, what, script, flags)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--protocol", choices=("http/1.1", "h2", "h3"), default="http/1.1")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.mib, arguments.protocol))
