"""What has to lie in the control area of an epoch's mailbox, for devices that slept through what
came after it. No I/O.

Whoever reads an epoch knows what its author knew. So its mailbox carries what came later, and once
the epoch is superseded, only what leads to the next: a removed device learns of its removal and of
nothing that follows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from crypto.epochs import Tier
from crypto.ids import EntryId
from protocol.epochs import EpochChain
from protocol.folder_actions import Admit, Expel, decode_action
from protocol.folder_ledger import FolderLedger
from protocol.ledger import Entry, LedgerKind, indices
from protocol.mailbox_items import ControlEntry, ControlWrap
from protocol.user_ledger import UserLedger

EPOCHS_MAX: Final = 8
"""Epochs whose mailboxes are looked at, the newest: who was away for longer meets somebody."""


def control_of(
    epoch_id: EntryId, folder: FolderLedger, user: UserLedger, chain: EpochChain
) -> list[tuple[bytes, ControlEntry | ControlWrap]]:
    """What is to lie there, each with its own id, in the order in which it can be taken up."""
    children = children_of(epoch_id, folder)
    known = folder.past_of([epoch_id])
    wanted = folder.past_of(children or folder.heads())
    entries = list(folder)
    new = [entries[index] for index in indices(wanted & ~known)]
    known_user = user.past_of(_cited([entries[index] for index in indices(known)], user))
    wanted_user = user.past_of(_cited(new, user) if children else user.heads())
    users = list(user)
    found: list[tuple[bytes, ControlEntry | ControlWrap]] = []
    for index in indices(wanted_user & ~known_user):
        entry = users[index]
        found.append((entry.id, ControlEntry(LedgerKind.USER, user.user_id, entry.wire)))
    for entry in new:
        found.append((entry.id, ControlEntry(LedgerKind.FOLDER, folder.folder_id, entry.wire)))
    for wrap in chain.wraps(children):
        wrapped = ControlWrap(wrap.epoch_id, wrap.recipient_id, wrap.wrapped)
        found.append((wrapped.encode(), wrapped))
    return found


def children_of(epoch_id: EntryId, folder: FolderLedger) -> list[EntryId]:
    """The epochs that continue this one directly."""
    return [e for e in folder.epoch_ids() if epoch_id in folder.core(e).parents]


def epochs_with_mailboxes(folder: FolderLedger, chain: EpochChain) -> list[EntryId]:
    """The newest epochs that are held here with the right to write."""
    held = [
        epoch_id
        for epoch_id in folder.epoch_ids()
        if chain.read_secret(epoch_id) is not None
        and chain.tier_secret(epoch_id, Tier.WRITE) is not None
    ]
    return held[-EPOCHS_MAX:]


def _cited(entries: Collection[Entry], user: UserLedger) -> Iterator[EntryId]:
    """The entries of the user's ledger that these entries of a folder's rest on."""
    for entry in entries:
        for encoded in entry.actions:
            match decode_action(encoded):
                case Admit(_, heads):
                    yield from (head for head in heads if head in user)
                case Expel(_, revoking) if revoking in user:
                    yield revoking
