"""What a device that slept finds in the control area of its epoch's mailbox."""

from __future__ import annotations

from collections.abc import Sequence

from crypto.ids import EntryId
from protocol.epochs import EpochChain, OpeningKey, Wrap
from protocol.folder_actions import Expel
from protocol.folder_ledger import FolderLedger
from protocol.ledger import LedgerKind
from protocol.mailbox_control import EPOCHS_MAX, children_of, control_of, epochs_with_mailboxes
from protocol.mailbox_items import ControlEntry, ControlWrap
from protocol.user_ledger import RevokeReason, UserLedger
from tests.protocol.people import Person, Place


class Town:
    """A user with three devices in one folder; each place knows what it was told."""

    def __init__(self) -> None:
        self.person = Person(1)
        self.place = Place.found(self.person)
        self.second = self.person.another_device()
        self.third = self.person.another_device()
        self.place.act(*self.place.ledger.admits_owed(self.person.id))
        self.place.epochs.wraps_owed()

    def put_out(self, place: Place, device: object) -> EntryId:
        """The place's device removes another; gives the new epoch."""
        user = place.users[self.person.id]
        entry = user.revoke(place.keys, device, 0, RevokeReason.LOST)  # type: ignore[arg-type]
        return place.rotate(Expel(device, entry.id)).id  # type: ignore[arg-type]

    def control(self, place: Place, epoch_id: EntryId) -> list[ControlEntry | ControlWrap]:
        user = place.users[self.person.id]
        return [c for _, c in control_of(epoch_id, place.ledger, user, place.epochs)]


def take_up(
    place: Place,
    ledger: FolderLedger,
    user: UserLedger,
    control: Sequence[ControlEntry | ControlWrap],
) -> EpochChain:
    """What a device does with what it found; gives its keys afterwards."""
    chain = EpochChain(ledger, OpeningKey.of_device(place.keys), place.epochs.wraps())
    for item in control:
        if isinstance(item, ControlWrap):
            chain.offer(Wrap(item.epoch_id, item.recipient_id, item.wrapped))
        elif item.kind == LedgerKind.USER:
            user.add(item.wire)
            ledger.retry()
        else:
            ledger.add(item.wire)
    return chain


def test_a_sleeper_finds_the_next_epoch_and_can_open_it() -> None:
    town = Town()
    sleeper = town.place.fork(town.second)
    (old,) = town.place.ledger.epoch_ids()
    new = town.put_out(town.place, town.third.device_id)
    assert children_of(old, town.place.ledger) == [new]
    control = town.control(town.place, old)
    assert new not in sleeper.ledger
    chain = take_up(sleeper, sleeper.ledger, sleeper.users[town.person.id], control)
    assert new in sleeper.ledger
    assert chain.read_secret(new) == town.place.epochs.read_secret(new)
    assert epochs_with_mailboxes(sleeper.ledger, chain) == [old, new]


def test_who_was_removed_learns_of_that_and_of_nothing_later() -> None:
    town = Town()
    removed = town.place.fork(town.third)
    (old,) = town.place.ledger.epoch_ids()
    new = town.put_out(town.place, town.third.device_id)
    fourth = town.person.another_device()
    town.place.act(*town.place.ledger.admits_owed(town.person.id))
    control = town.control(town.place, old)
    chain = take_up(removed, removed.ledger, removed.users[town.person.id], control)
    assert chain.read_secret(new) is None
    assert fourth.device_id not in removed.ledger.devices()
    assert fourth.device_id not in removed.users[town.person.id].live_devices()
    assert town.third.device_id not in removed.users[town.person.id].live_devices()
    entries = [c for c in town.control(town.place, new) if isinstance(c, ControlEntry)]
    assert {c.kind for c in entries} == {LedgerKind.USER, LedgerKind.FOLDER}, "it is the new one's"


def test_a_device_that_was_added_is_told_of_in_the_epoch_it_reads() -> None:
    town = Town()
    sleeper = town.place.fork(town.second)
    (epoch,) = town.place.ledger.epoch_ids()
    fourth = town.person.another_device()
    town.place.act(*town.place.ledger.admits_owed(town.person.id))
    take_up(sleeper, sleeper.ledger, sleeper.users[town.person.id], town.control(town.place, epoch))
    assert fourth.device_id in sleeper.ledger.devices()


def test_it_has_the_same_ids_whoever_puts_it_there() -> None:
    town = Town()
    other = town.place.fork(town.second)
    (epoch,) = town.place.ledger.epoch_ids()
    ours = control_of(epoch, town.place.ledger, town.person.ledger, town.place.epochs)
    theirs = control_of(epoch, other.ledger, other.users[town.person.id], other.epochs)
    assert ours == theirs
    assert len({what for what, _ in ours}) == len(ours)


def test_only_the_newest_epochs_are_looked_at() -> None:
    town = Town()
    for _ in range(EPOCHS_MAX + 2):
        town.place.rotate()
    epochs = town.place.ledger.epoch_ids()
    held = epochs_with_mailboxes(town.place.ledger, town.place.epochs)
    assert held == epochs[-EPOCHS_MAX:]
    # Links give the past's read secrets and no write secret: no mailbox of before it was there.
    newcomer = town.person.another_device()
    town.place.act(*town.place.ledger.admits_owed(town.person.id))
    town.place.epochs.wraps_owed()
    place = town.place.fork(newcomer)
    assert epochs_with_mailboxes(place.ledger, place.epochs) == epochs[-1:]
