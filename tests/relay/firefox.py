"""Firefox before a web endpoint, driven by WebDriver BiDi: JSON over a WebSocket, which every
Firefox speaks itself. Playwright drives Firefoxes of its own alone, and Debian has no geckodriver.

Only what a few tests need: pages, buttons by their names, keys, downloads and pictures.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from wsproto import ConnectionType, WSConnection  # which hypercorn brings
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Request, TextMessage

from tests.relay.browsing import PICTURES

FIREFOX = "firefox-esr"
DEADLINE_S = 120.0
"""On a machine with other work to do a browser takes its time."""
DESKTOP = (1100, 760)
LISTENING = b"WebDriver BiDi listening on ws://127.0.0.1:"
CREATED, ENDED = "browsingContext.contextCreated", "browsingContext.downloadEnd"
LOGGED = "log.entryAdded"
PREFERENCES: dict[str, bool | int | str] = {
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.download.alwaysOpenPanel": False,  # it takes the focus
    "browser.safebrowsing.downloads.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.active-protocols": 1,  # BiDi alone
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}
"""A Firefox that asks nobody anything but what it is told to."""

WAIT = """(selector, words) => new Promise((resolve) => {
    const look = () => {
        const found = [...document.querySelectorAll(selector)];
        if (found.some((one) => one.textContent.includes(words))) resolve();
        else setTimeout(look, 50);
    };
    look();
})"""


class BidiError(Exception):
    """The browser refused a command."""


class Bidi:
    """One conversation: commands that are answered, and events."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        self._reader, self._writer = reader, writer
        self._socket = WSConnection(ConnectionType.CLIENT)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._text = ""
        self.on_event: Callable[[str, dict[str, Any]], None] = lambda _method, _values: None
        self._send(Request(host=f"127.0.0.1:{port}", target="/session"))

    def _send(self, event: Any) -> None:
        self._writer.write(self._socket.send(event))

    async def ask(self, method: str, /, **values: Any) -> dict[str, Any]:
        """What the browser answers to a command."""
        await self._accepted
        number = len(self._asked)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        command = {"id": number, "method": method, "params": values}
        self._send(TextMessage(data=json.dumps(command)))
        async with asyncio.timeout(DEADLINE_S):
            return await answer

    async def read(self) -> None:
        """Takes what the browser says, until it has left."""
        while data := await self._reader.read(1 << 16):
            self._socket.receive_data(data)
            for event in self._socket.events():
                self._take(event)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(BidiError("the browser has left"))

    def _take(self, event: Any) -> None:
        match event:
            case AcceptConnection():
                self._accepted.set_result(None)
            case Ping():
                self._send(event.response())
            case CloseConnection():
                self._send(event.response())
            case Message():
                self._text += str(event.data)
                if event.message_finished:
                    text, self._text = self._text, ""
                    self._hear(json.loads(text))

    def _hear(self, said: dict[str, Any]) -> None:
        if said["type"] == "event":
            self.on_event(said["method"], said["params"])
        elif said["type"] == "error":
            error = BidiError(f"{said['error']}: {said['message']}")
            self._asked[said["id"]].set_exception(error)
        else:
            self._asked[said["id"]].set_result(said["result"])


@dataclass
class Tab:
    """One page in a context of its own, with its downloads and what it complained of."""

    bidi: Bidi
    context: str
    saved: Path
    """Where its downloads go."""
    complaints: list[str] = field(default_factory=list)
    downloads: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    """How each has ended, and where it lies."""

    async def goto(self, address: str) -> None:
        await self.bidi.ask(
            "browsingContext.navigate", context=self.context, url=address, wait="complete"
        )

    async def evaluate(self, function: str, *arguments: str | int) -> Any:
        """What a function of the page's returns, if it is a string, a number or a truth."""
        answer = await self.bidi.ask(
            "script.callFunction",
            functionDeclaration=function,
            arguments=[
                {"type": "string" if isinstance(one, str) else "number", "value": one}
                for one in arguments
            ],
            target={"context": self.context},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise BidiError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    async def shown(self, selector: str, words: str = "") -> None:
        """Waits until there is such an element, with these words in it."""
        await self.evaluate(WAIT, selector, words)

    async def state(self, name: str, error: str | None = None) -> None:
        """Waits until the page is in this state."""
        said = f'[data-error="{error}"]' if error else ""
        await self.shown(f'#main[data-state="{name}"]{said}')

    async def outcome(self, kind: str) -> None:
        """Waits until a transfer has ended so."""
        await self.shown(f'.outcome[data-kind="{kind}"]')

    async def _element(self, **locator: Any) -> dict[str, str]:
        """The one element that is found so, once it is there."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = await self.bidi.ask(
                    "browsingContext.locateNodes", context=self.context, locator=locator
                )
                if nodes := found["nodes"]:
                    (node,) = nodes
                    return {"sharedId": node["sharedId"]}
                await asyncio.sleep(0.05)

    async def choose(self, selector: str, *files: Path) -> None:
        """Gives these files to the page's field for files."""
        element = await self._element(type="css", value=selector)
        await self.bidi.ask(
            "input.setFiles", context=self.context, element=element, files=[*map(str, files)]
        )

    async def press(self, name: str) -> None:
        """Presses the button of this name, with a mouse that the browser believes in."""
        element = await self._element(type="accessibility", value={"role": "button", "name": name})
        await self.bidi.ask(
            "script.callFunction",
            functionDeclaration="(one) => one.scrollIntoView({ block: 'center' })",
            arguments=[element],
            target={"context": self.context},
            awaitPromise=True,
        )
        at = {"x": 0, "y": 0, "origin": {"type": "element", "element": element}}
        acts = [
            {"type": "pointerMove", **at},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        await self._act({"type": "pointer", "id": "mouse", "actions": acts})

    async def keys(self, text: str) -> None:
        """Presses these keys, one after the other, wherever the focus is."""
        acts = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        await self._act({"type": "key", "id": "keyboard", "actions": acts})

    async def picture(self, name: str) -> None:
        """Keeps what the page looks like now."""
        taken = await self.bidi.ask("browsingContext.captureScreenshot", context=self.context)
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"firefox-{name}.png").write_bytes(b64decode(taken["data"]))

    async def _act(self, source: dict[str, Any]) -> None:
        await self.bidi.ask("input.performActions", context=self.context, actions=[source])

    async def download(self) -> bytes:
        """What the next download to end has saved; it was saved whole."""
        async with asyncio.timeout(DEADLINE_S):
            status, path = await self.downloads.get()
        assert (status, Path(path).parent) == ("complete", self.saved)
        return await asyncio.to_thread(Path(path).read_bytes)


class Firefox:
    """A running browser, and its tabs."""

    def __init__(self, bidi: Bidi, folder: Path) -> None:
        self._bidi, self._folder = bidi, folder
        self._tabs: dict[str, Tab] = {}
        self._of_user: dict[str, str] = {}
        """Of each page and frame, in whose context it is: a download begins in a frame."""
        bidi.on_event = self._hear

    @classmethod
    async def begin(cls, bidi: Bidi, folder: Path) -> Self:
        await bidi.ask("session.new", capabilities={})
        await bidi.ask("session.subscribe", events=[CREATED, ENDED, LOGGED])
        return cls(bidi, folder)

    def _hear(self, method: str, values: dict[str, Any]) -> None:
        context = values.get("context") or values["source"].get("context")
        if method == CREATED:
            self._of_user[context] = values["userContext"]
        if (tab := self._tabs.get(self._of_user.get(context, ""))) is None:
            return
        if method == ENDED:
            tab.downloads.put_nowait((values["status"], values.get("filepath") or ""))
        elif method == LOGGED and values["level"] == "error":
            tab.complaints.append(values["text"])

    @asynccontextmanager
    async def visiting(
        self, address: str, viewport: tuple[int, int] = DESKTOP
    ) -> AsyncIterator[Tab]:
        """Opens the address; what the browser blocks or throws is a failure."""
        made = await self._bidi.ask("browser.createUserContext")
        user = made["userContext"]
        saved = self._folder / user
        await asyncio.to_thread(saved.mkdir)
        await self._bidi.ask(
            "browser.setDownloadBehavior",
            userContexts=[user],
            downloadBehavior={"type": "allowed", "destinationFolder": str(saved)},
        )
        opened = await self._bidi.ask("browsingContext.create", type="window", userContext=user)
        context = opened["context"]
        tab = self._tabs[user] = Tab(self._bidi, context, saved)
        try:
            width, height = viewport
            await self._bidi.ask(
                "browsingContext.setViewport",
                context=context,
                viewport={"width": width, "height": height},
            )
            await tab.goto(address)
            yield tab
            assert tab.complaints == []
        finally:
            await self._bidi.ask("browser.removeUserContext", userContext=user)


@asynccontextmanager
async def firefox(folder: Path) -> AsyncIterator[Firefox]:
    """The browser of the system, without a window; profile and downloads lie in the folder."""
    profile = folder / "profile"
    await asyncio.to_thread(_make_profile, profile)
    process = await asyncio.create_subprocess_exec(
        FIREFOX,
        *("--headless", "--no-remote", "--remote-debugging-port=0", "--profile", str(profile)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        port = await _listening(process)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bidi = Bidi(reader, writer, port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bidi.read())
            tasks.create_task(_drain(process))
            yield await Firefox.begin(bidi, folder)
            with suppress(BidiError):  # it may leave before it answers
                await bidi.ask("browser.close")
        writer.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _make_profile(profile: Path) -> None:
    profile.mkdir()
    lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))


async def _listening(process: asyncio.subprocess.Process) -> int:
    """The port on which it can be driven."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while line := await process.stderr.readline():
            if line.startswith(LISTENING):
                return int(line[len(LISTENING) :])
    raise BidiError("the browser did not start")


async def _drain(process: asyncio.subprocess.Process) -> None:
    """What it grumbles has to go somewhere, or it stands still when the pipe is full."""
    assert process.stderr is not None
    while await process.stderr.readline():
        pass
