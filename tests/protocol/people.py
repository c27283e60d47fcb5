"""Users, devices and folders for tests, with real keys from a seed."""

from __future__ import annotations

from random import Random

from crypto.ids import UserId
from crypto.keys import DeviceKeys, KitKeys
from protocol.changesets import decode_changeset
from protocol.epochs import EpochChain, OpeningKey, Wrap, create_folder, rotate
from protocol.folder_actions import Action, FolderKind, Grant, Pin, Remove, Role
from protocol.folder_ledger import FolderLedger
from protocol.ledger import Entry
from protocol.log_outcomes import Accepted, Received
from protocol.logs import LogBook
from protocol.user_ledger import UserLedger, make_certificate

Users = dict[UserId, UserLedger]


class Person:
    """A user with a kit and one device, and a ledger that says so."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed).randbytes
        self.kit = KitKeys.from_secret(self.random(32))
        self.device = DeviceKeys.generate(self.random)
        self.ledger = UserLedger.create(self.kit, self.device, 0, self.random)
        self.id = self.ledger.user_id

    def another_device(self) -> DeviceKeys:
        """A further device, added by the first."""
        keys = DeviceKeys.generate(self.random)
        self.ledger.add_device(self.device, *make_certificate(keys, self.id), 0)
        return keys


class Place:
    """What one device has of a folder: ledger, secrets, logs, and its own user ledgers."""

    def __init__(
        self, keys: DeviceKeys, ledger: FolderLedger, users: Users, wraps: list[Wrap]
    ) -> None:
        self.keys, self.ledger, self.users = keys, ledger, users
        self.random = Random(keys.device_id).randbytes
        self.epochs = EpochChain(ledger, OpeningKey.of_device(keys), wraps)
        self.book = LogBook(ledger, self.epochs)
        self.incarnation = keys.device_id[:8]
        self.wires: dict[bytes, bytes] = {}

    @classmethod
    def found(cls, person: Person, users: Users | None = None) -> Place:
        """A new folder of this person on the first device."""
        users = {} if users is None else users
        users[person.id] = person.ledger
        ledger, wraps = create_folder(
            person.device, person.ledger, users, FolderKind.FILES, 0, person.random
        )
        return cls(person.device, ledger, users, wraps)

    def fork(self, keys: DeviceKeys) -> Place:
        """The same folder on another device, which knows the same ledgers and wraps."""
        users = {u: UserLedger.restore(ledger.export()) for u, ledger in self.users.items()}
        ledger = FolderLedger.restore(self.ledger.export(), users)
        place = Place(keys, ledger, users, self.epochs.wraps())
        place.learn(self)
        return place

    def act(self, *actions: Action) -> Entry:
        """An entry by this device."""
        return self.ledger.act(self.keys, actions, 0)

    def rotate(self, *actions: Action) -> Entry:
        """An entry with a new epoch by this device."""
        return rotate(self.epochs, self.ledger, self.keys, 0, self.random, actions)[0]

    def join(self, person: Person, role: Role) -> Place:
        """Grants a person a role and lets its first device in; gives that device's place."""
        self.users[person.id] = person.ledger
        self.act(Grant(person.id, role))
        if admits := self.ledger.admits_owed(person.id):
            self.act(*admits)
        self.epochs.wraps_owed()
        return self.fork(person.device)

    def remove(self, person: Person, pins: tuple[Pin, ...] | None = None) -> Entry:
        """Removes a person, with a new epoch in the same entry."""
        devices = [d for d, (user, _) in self.ledger.devices().items() if user == person.id]
        return self.rotate(Remove(person.id, self.book.pins(devices) if pins is None else pins))

    def draft_and_seal(self, records: list[object] | None = None) -> Accepted:
        """A changeset that did not enter the log yet."""
        draft = self.book.draft(self.keys.device_id, self.incarnation)
        return self.book.seal(self.keys, draft, [] if records is None else records, self.random)

    def write(self, records: list[object] | None = None) -> Accepted:
        """A changeset of this device, in its log."""
        accepted = self.draft_and_seal(records)
        self.take(accepted)
        return accepted

    def take(self, accepted: Accepted) -> None:
        """What the owner does after check 10."""
        self.wires[accepted.changeset.hash] = accepted.changeset.wire
        self.book.accept(accepted)

    def receive(self, wire: bytes) -> Received:
        """One changeset, accepted if it may be."""
        received = self.book.receive(wire)
        if isinstance(received, Accepted):
            self.take(received)
        return received

    def learn(self, other: Place) -> None:
        """Takes over ledgers and wraps."""
        for user_id, user in other.users.items():
            if user_id in self.users:
                self.users[user_id].extend(user.export())
            else:
                self.users[user_id] = UserLedger.restore(user.export())
        self.ledger.extend(other.ledger.export())
        self.ledger.retry()
        for wrap in other.epochs.wraps():
            self.epochs.offer(wrap)

    def sync(self, other: Place) -> None:
        """Takes over all that the other has, changesets in the order of their logs."""
        self.learn(other)
        by_position = {
            (log, seq): wire for wire in other.wires.values() for log, seq in [_position(wire)]
        }
        pending = [
            by_position[log, seq]
            for log, first, last in other.book.missing_from(self.book.frontier())
            for seq in range(first, last + 1)
            if (log, seq) in by_position
        ]
        while pending:
            for wire in pending:
                self.receive(wire)
            pending = self.book.take_ready()


def _position(wire: bytes) -> tuple[bytes, int]:
    changeset = decode_changeset(wire)
    return changeset.log_id, changeset.slot.seq
