"""Devices that have no way to each other but the mailboxes of one relay, which may be evil."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peer.connectivity import backoff, dialling
from peer.connectivity.relays import Relays
from peer.daemon import Daemon
from peer.device.home import Home
from peer.mail import mailboxes
from protocol.link import Link
from protocol.mailbox_messages import (
    Item,
    MailboxItems,
    MailboxListed,
    MailboxMessage,
    MailboxRequest,
)
from relay.mailboxes import Mailboxes, Talk
from relay.registry import Client
from tests.peer.device_stage import Stage, are_linked, copy_homes, devices, folder_of, until
from tests.relay.relay_stage import RelayStage, relaying


class Apart:
    """Daemons with one folder, `f`, that cannot be linked any more."""

    def __init__(self, stage: Stage, relay: RelayStage, daemons: Sequence[Daemon]) -> None:
        self.stage, self.relay, self.daemons = stage, relay, list(daemons)

    def root(self, number: int) -> Path:
        return self.stage.root(self.daemons[number].name)

    @property
    def boxes(self) -> Mailboxes:
        boxes = self.relay.relay.desk.mailboxes
        assert boxes is not None
        return boxes

    def items(self) -> int:
        """How many items lie at the relay."""
        return self.boxes.counts()["items"]

    async def write(self, number: int, name: str, data: bytes) -> None:
        """A person saves a file, and the device has told of it as far as it can."""
        folder = folder_of(self.daemons[number])
        before = folder.engine.frontier
        (self.root(number) / name).write_bytes(data)
        await until(lambda: folder.engine.frontier != before)
        if self.daemons[number].relays.is_connected:
            await self.until_put(number)

    async def until_put(self, number: int) -> None:
        """All that this device holds is at the relay, or was not needed there."""
        daemon = self.daemons[number]
        folder = folder_of(daemon)
        mail = daemon.mailboxes._mail_of(folder.folder_id)

        def is_put() -> bool:
            return any(said[0] == tuple(folder.engine.frontier) for said in mail.beaten.values())

        await until(is_put)

    async def connect(self, *numbers: int) -> None:
        """These devices use the relay from now on."""
        for number in numbers:
            daemon = self.daemons[number]
            await daemon.add_relay(self.relay.address)
            await until(lambda daemon=daemon: daemon.relays.is_connected)  # type: ignore[misc]
            await until(lambda daemon=daemon: daemon.mailboxes._relays)  # type: ignore[misc]

    async def disconnect(self, number: int) -> None:
        """It is away now: no relay, no link."""
        await self.daemons[number].remove_relay(str(self.relay.address))
        await until(lambda: not self.daemons[number].relays.is_connected)

    async def until_shown(self, number: int, name: str, data: bytes) -> None:
        path = self.root(number) / name
        try:
            await until(lambda: path.is_file() and path.read_bytes() == data)
        except TimeoutError:
            raise AssertionError(await self.told()) from None

    async def until_same(self) -> None:
        """All have the same tree, and hold the same."""

        def is_same() -> bool:
            trees = [tree(self.root(number)) for number in range(len(self.daemons))]
            frontiers = [folder_of(daemon).engine.frontier for daemon in self.daemons]
            return all(t == trees[0] for t in trees) and all(f == frontiers[0] for f in frontiers)

        try:
            await until(is_same)
        except TimeoutError:
            raise AssertionError(await self.told()) from None

    async def told(self) -> str:
        """How they stand, for a test that waited in vain."""
        lines = [f"at the relay: {[(u.items, u.bytes) for u in self.boxes.uses.tags.values()]}"]
        for number, daemon in enumerate(self.daemons):
            folder = folder_of(daemon)
            frontier = [(e.log_id.hex()[:6], e.seq) for e in folder.engine.frontier]
            lines.append(f"{daemon.name}: {tree(self.root(number))} {frontier}")
            lines.append(f"    {(await daemon.status())['folders']}")
            lines.append(f"    {daemon.mailboxes._mail_of(folder.folder_id).holdings._devices}")
            lines.append(f"    held {len(folder.engine.book._held)}, inbox {len(folder._inbox)}")
            for mail in daemon.mailboxes._relays.values():
                for box in mail._boxes.get(folder.folder_id, {}).values():
                    lines.append(f"    {sorted(box.items.values())} bad {box._bad}")
        return "\n".join(lines)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".holdfast" not in path.parts
    }


@asynccontextmanager
async def apart(
    homes: Path, base: Path, monkeypatch: pytest.MonkeyPatch, *names: str
) -> AsyncIterator[Apart]:
    """The devices share the folder over direct links, which then end; none uses the relay yet."""
    monkeypatch.setattr(mailboxes, "AWAY_AFTER_S", 0.0)
    monkeypatch.setattr(mailboxes, "FLUSH_S", 0.1)
    monkeypatch.setattr(backoff, "SPANS_S", (0.1, 0.1, 0.3))
    (base / "relay").mkdir()
    copy_homes(homes, base)
    async with relaying(home=base / "relay") as relay, devices(base) as stage:
        for name in names:
            home = await Home.open(stage.home(name))
            async with home.store.transaction() as write:
                await write._execute("DELETE FROM addresses")
            await home.close()
        daemons = [await stage.start(name) for name in names]
        first, *others = daemons
        for other in others:
            await stage.meet(first, other)
        await first.add_folder(stage.root(first.name), "f")
        for other in others:
            await until(
                lambda other=other: any(other._name_of(s) == "f" for s in other.stored.values())  # type: ignore[misc]
            )
            await other.attach_folder("f", stage.root(other.name))
        town = Apart(stage, relay, daemons)
        (town.root(0) / "first").write_bytes(b"all have this")
        await town.until_same()
        await part(daemons, monkeypatch)
        yield town


async def part(daemons: Sequence[Daemon], monkeypatch: pytest.MonkeyPatch) -> None:
    """No link any more, neither direct nor relayed."""

    async def blocked(*_: object) -> None:
        return None

    monkeypatch.setattr(dialling.Dialling, "_try", blocked)
    monkeypatch.setattr(Relays, "call", blocked)
    for daemon in daemons:
        for connection in daemon.network.status():
            connection.link.abort()
    await until(lambda: not any(daemon.network.connections for daemon in daemons))
    assert not are_linked(daemons[0], daemons[1])


class EvilTalk:
    """Stands between the relay and one device, and changes what the relay says."""

    def __init__(self, evil: EvilRelay, client: Client, talk: Talk) -> None:
        self.link_id, self._evil, self._client, self._talk = talk.link_id, evil, client, talk

    def say(self, message: MailboxMessage) -> None:
        for changed in self._evil.changed(self._client, message):
            self._talk.say(changed)


class EvilRelay:
    """Takes the place of a relay's mailboxes; a test overrides `changed` or `is_swallowed`."""

    def __init__(self, relay: RelayStage) -> None:
        mailboxes = relay.relay.desk.mailboxes
        assert mailboxes is not None
        self._answer = mailboxes.answer
        mailboxes.answer = self.answer  # type: ignore[method-assign]

    async def answer(self, client: Client, talk: Talk, request: MailboxRequest) -> None:
        said = self.instead(client, request)
        if said is not None:
            talk.say(said)
            return
        await self._answer(client, EvilTalk(self, client, talk), request)

    def instead(self, client: Client, request: MailboxRequest) -> MailboxMessage | None:
        """What is answered without anything being done."""
        return None

    def changed(self, client: Client, message: MailboxMessage) -> Sequence[MailboxMessage]:
        """What is said in place of a message."""
        return [message]


def without(message: MailboxMessage, positions: set[int]) -> MailboxMessage:
    """A list or items, as if these were not there."""
    if isinstance(message, MailboxListed):
        kept = tuple(item for item in message.items if item.position not in positions)
        return MailboxListed(message.number, kept, message.is_more)
    if isinstance(message, MailboxItems):
        left: tuple[Item, ...] = tuple(i for i in message.items if i.position not in positions)
        return MailboxItems(message.number, left, message.is_more)
    return message


def abort(link: Link) -> None:
    link.abort()


async def settle(seconds: float = 0.3) -> None:
    """Lets what would happen happen; for what must not."""
    await asyncio.sleep(seconds)
