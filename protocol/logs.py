"""The logs of a folder: which changesets may enter them, and what to do with the rest.

This is where CRYPTO 5's checks on receipt are, 1 to 9 in that order; the tenth, of the records, is
the caller's, who then calls `accept` or `freeze`. A log is judged by its author's signatures alone,
so every replica comes to the same verdicts whoever it got the changesets from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from crypto.changesets import verify_slot
from crypto.errors import SignatureError
from crypto.ids import DeviceId, EntryId, LogId
from crypto.keys import DeviceKeys
from protocol.changesets import (
    HEADS_MAX,
    Body,
    Changeset,
    FrontierEntry,
    Slot,
    author_changeset,
    decode_changeset,
    log_id_of,
    open_changeset,
)
from protocol.declarations import Declaration, Declarations
from protocol.epochs import EpochChain
from protocol.errors import (
    BadEpoch,
    BadRecord,
    BadSequence,
    BadSignature,
    LimitReached,
    NewerForm,
    NotEntitled,
    ProtocolError,
)
from protocol.folder_actions import Pin, Role
from protocol.folder_ledger import FolderLedger
from protocol.held_changesets import HELD_SIZE_MAX, HeldChangesets, Position
from protocol.log_checks import check_lamport, grown, is_full_at, missing
from protocol.log_offers import branch_from, missing_from, offer_from
from protocol.log_outcomes import (
    Accepted,
    Draft,
    Duplicate,
    Fault,
    ForkProof,
    Gap,
    Held,
    Quarantined,
    Received,
    Refused,
    VoidChange,
    Wait,
)
from protocol.log_positions import Log, LogRow

QUARANTINED_MAX: Final = 16384
"""Positions remembered of branches and logs that do not count; more is a flood, and forgotten."""


class LogBook:
    """The logs of one folder, and what waits to enter them."""

    def __init__(
        self, ledger: FolderLedger, epochs: EpochChain, held_size_max: int = HELD_SIZE_MAX
    ) -> None:
        self._ledger = ledger
        self._epochs = epochs
        self._logs: dict[LogId, Log] = {}
        self._quarantined: dict[FrontierEntry, int] = {}
        """(log, seq, hash) -> Lamport time, of what is kept on no log: it counts as present."""
        self._held = HeldChangesets(held_size_max)
        self._declarations = Declarations()
        self._changed: set[LogId] = set()
        self._void_changes: list[VoidChange] = []
        self._versions: tuple[object, object] = (ledger.version, epochs.version)

    # ------------------------------------------------------------ reading

    def frontier(self) -> list[FrontierEntry]:
        """How far each log is held, sorted: what to tell others."""
        return sorted(log.head for log in self._logs.values() if log.lamports)

    def log_ids(self) -> list[LogId]:
        """All logs that are known."""
        return sorted(self._logs)

    def log(self, log_id: LogId) -> LogRow | None:
        """What is known of a log; None for an unknown one."""
        log = self._logs.get(log_id)
        return None if log is None else log.row()

    def log_id(self, device_id: DeviceId, incarnation: bytes) -> LogId:
        """The log of a device's incarnation in this folder."""
        return log_id_of(self._ledger.folder_id, device_id, incarnation)

    def device_of(self, log_id: LogId) -> tuple[DeviceId, bytes] | None:
        """The device and incarnation that a known log is of."""
        log = self._logs.get(log_id)
        return None if log is None else (log.device_id, log.incarnation)

    def seq_of(self, log_id: LogId) -> int:
        """How far a log is held; 0 for an unknown one."""
        log = self._logs.get(log_id)
        return 0 if log is None else log.seq

    def start_of(self, log_id: LogId) -> int:
        """The first position of a log that is held; what is below it was told again above."""
        return self._logs[log_id].start

    def lamport_of(self, log_id: LogId) -> int:
        """The time of a log's head; 0 for an unknown one."""
        log = self._logs.get(log_id)
        return log.lamports[-1] if log is not None and log.lamports else 0

    def is_closed(self, log_id: LogId) -> bool:
        """Whether the author of this log has to take a new incarnation."""
        log = self._logs.get(log_id)
        return log is not None and self._is_closed(log)

    def forks(self) -> dict[LogId, int]:
        """Where logs have been forked: what was seen from there on may be of another branch."""
        return {log.log_id: log.forked_at for log in self._logs.values() if log.forked_at}

    def hash_at(self, log_id: LogId, seq: int) -> bytes | None:
        """The hash at a position of a log; None if it is not held."""
        log = self._logs.get(log_id)
        return None if log is None else log.hash_at(seq)

    def branch_from(self, theirs: FrontierEntry) -> int:
        """From where on to show a log to somebody whose head is of another branch; 0 if it is not,
        as far as this can be known here.
        """
        return branch_from(self._logs.get(theirs.log_id), theirs, self._quarantined)

    def missing_from(self, theirs: Iterable[FrontierEntry]) -> list[tuple[LogId, int, int]]:
        """What somebody with this frontier lacks: (log, first, last) for each log."""
        return missing_from(self._logs, theirs)

    def offer_from(self, log_id: LogId, held: int) -> tuple[int, int]:
        """From where on to tell a log to somebody who holds it up to `held`, and the position to
        show before that, since it declares where they may begin; 0 if they just go on.
        """
        log = self._logs.get(log_id)
        return (held + 1, 0) if log is None else offer_from(log, held)

    def floor_of(self, log_id: LogId) -> tuple[int, int]:
        """A log's floor and the position that declares it, as far as they count; (1, 0) without."""
        log = self._logs.get(log_id)
        return (1, 0) if log is None else log.counting_floor

    def unfinished(self) -> list[tuple[LogId, int]]:
        """(log, floor) for each log that is being taken up from a floor on: what was below it is
        told again piece by piece, and until the last one nodes may lack a place or a parent.
        """
        return sorted((log.log_id, log.floor) for log in self._logs.values() if not log.is_whole)

    def declarations(self) -> list[tuple[LogId, Declaration]]:
        """What to show, of logs that are not whole, whoever is told what rests on them."""
        self._declarations.drop_where(lambda log_id: self._logs[log_id].is_whole)
        return self._declarations.all()

    def pins(self, device_ids: Iterable[DeviceId]) -> tuple[Pin, ...]:
        """The accepted head of every log of these devices: what a removal of them pins."""
        devices = set(device_ids)
        heads: list[Pin] = []
        for log in self._logs.values():
            last = log.void_from - 1 if log.void_from else log.seq
            if log.device_id in devices and (hash_ := log.hash_at(last)) is not None:
                heads.append(Pin(log.log_id, last, hash_))
        return tuple(sorted(heads))

    def is_void(self, changeset: Changeset) -> bool:
        """Whether a changeset is void by what the folder ledger says now (CRYPTO 4.3)."""
        slot = changeset.slot
        return self._is_void(slot.device_id, slot.heads, changeset.log_id, slot.seq, changeset.hash)

    def reopen(self, changeset: Changeset) -> list[Any] | None:
        """The records of a changeset that was accepted before; None if it does not count now."""
        return None if self.is_void(changeset) else self.look_into(changeset)

    def look_into(self, changeset: Changeset) -> list[Any] | None:
        """The records of a changeset, whether it counts or not; None without its key. Raises what
        opening it raises, for one that was never accepted.
        """
        record_key = self._epochs.record_key(changeset.slot.epoch_id)
        return None if record_key is None else open_changeset(changeset, record_key).records

    # ------------------------------------------------------------ writing

    def draft(
        self, device_id: DeviceId, incarnation: bytes, floor: int = 0, is_full: bool = False
    ) -> Draft:
        """The next position of one's own log; `floor` raises its floor.

        A compaction begins with a full frontier (`is_full`) and ends with the changeset that
        declares the position of its beginning as the floor. Raises BadEpoch if a rotation is owed
        first, BadSequence if the log takes no more and the device needs a new incarnation, and
        NotEntitled if it may not write.
        """
        self._refresh()
        log_id = log_id_of(self._ledger.folder_id, device_id, incarnation)
        log = self._logs.get(log_id) or Log(log_id, device_id, incarnation)
        if self._is_closed(log):
            raise BadSequence("this log takes no more; a new incarnation is needed")
        heads = self._heads_after(log)
        if not self._ledger.is_writer(device_id, heads):
            raise NotEntitled("this device may not write in this folder")
        epoch_id = self._epochs.sealing_epoch(heads)
        if epoch_id is None:
            raise BadEpoch("the folder's secrets have to be renewed first")
        seq, floor = log.seq + 1, max(log.head_floor, floor)
        assert floor <= seq
        is_full = is_full or is_full_at(seq, floor)
        entries: list[FrontierEntry] = []
        lamports = [log.lamports[-1] if log.lamports else 0]
        seen = dict(log.frontier or {})
        for other in self._logs.values():
            if other is log or not other.lamports:
                continue
            if is_full or other.seq > seen.get(other.log_id, 0):
                entries.append(other.head)
                seen[other.log_id] = other.seq
                # A void position's time is not taken over: it may be any number.
                last = other.seq
                for bad in (other.void_from, other.unchecked_from):
                    last = min(last, bad - 1) if bad else last
                lamports.append(other.lamport_at(last) if last >= other.start else 0)
        slot = Slot(
            self._ledger.folder_id, device_id, incarnation, seq, log.hash, epoch_id, heads, floor,
            1 + max(lamports),
        )  # fmt: skip
        return Draft(slot, tuple(sorted(entries)), seen)

    def seal(
        self,
        keys: DeviceKeys,
        draft: Draft,
        records: Sequence[Any],
        random: Callable[[int], bytes],
    ) -> Accepted:
        """A signed changeset at the drafted position, to be stored and accepted, or TooLong."""
        record_key = self._epochs.record_key(draft.slot.epoch_id)
        assert record_key is not None
        changeset = author_changeset(keys, record_key, draft.slot, draft.frontier, records, random)
        return Accepted(changeset, Body(draft.frontier, list(records)), draft.seen)

    def _is_closed(self, log: Log) -> bool:
        if log.is_closed or log.frontier is None:
            return True
        # It has named more of a log than a fork has left of it, and no frontier shrinks.
        return any(self._logs[i].seq < log.frontier.get(i, 0) for i in self.forks())

    def _heads_after(self, log: Log) -> tuple[EntryId, ...]:
        """At most 8 of the ledger's heads, with successors of all that the log cited before."""
        heads = self._ledger.heads()
        if len(heads) <= HEADS_MAX:
            return tuple(heads)
        chosen = {
            next(head for head in heads if head == old or self._ledger.is_ancestor(old, head))
            for old in log.heads_at(log.seq)
        }
        rest = [head for head in heads if head not in chosen]
        return tuple(sorted([*chosen, *rest[: HEADS_MAX - len(chosen)]]))

    # ------------------------------------------------------------ receiving

    def receive(self, data: bytes) -> Received:
        """Judges a changeset's wire bytes. Never raises: what is wrong is in the answer."""
        self._refresh()
        try:
            changeset = decode_changeset(data)
            return self._judge(changeset)
        except ProtocolError as error:
            return Refused(error)

    def accept(self, accepted: Accepted) -> None:
        """Advances the log over a changeset whose records are good and that is safely stored."""
        changeset = accepted.changeset
        log = self._log_of(changeset.slot)
        if changeset.slot.seq != log.seq + 1:
            log.begin_at(changeset.slot.seq)  # its floor
        log.append(changeset.slot, changeset.hash)
        log.frontier = dict(accepted.frontier)
        self._advanced(log)

    def freeze(self, changeset: Changeset, error: ProtocolError) -> Refused:
        """Stops a log before a changeset that no honest device signs; it is kept as proof. What
        only a later version can read stops nothing: it comes again.
        """
        if isinstance(error, NewerForm):
            return Refused(error, changeset)
        log = self._log_of(changeset.slot)
        log.stopped_at = changeset.slot.seq
        self._quarantine(changeset)
        self._changed.add(log.log_id)
        return Refused(error, changeset, is_frozen=True)

    def rewind(self, position: Position) -> int:
        """Takes a log back to tell `position` anew; gives the first position to feed again.

        What was at and above the position goes to quarantine.
        """
        log = self._logs[position.log_id]
        for seq in range(position.seq, log.seq + 1):
            self._remember(log.log_id, seq, log.hash_at(seq) or b"", log.lamport_at(seq))
        if log.stopped_at >= position.seq:
            log.stopped_at = 0
        self._changed.add(log.log_id)
        return log.cut(position.seq)

    def drop_below(self, log_id: LogId, seq: int) -> None:
        """Forgets what stands below a floor that counts; others find it told again above."""
        log = self._logs[log_id]
        assert seq <= log.counting_floor[0]
        log.drop_below(seq)
        self._changed.add(log_id)

    def note_undone(self, log_id: LogId) -> None:
        """The replica holds of this log what counts, and no more."""
        log = self._logs[log_id]
        if log.undone_from != log.void_from:
            log.undone_from = log.void_from
            self._changed.add(log_id)

    def take_ready(self) -> list[bytes]:
        """Wire bytes that were held and may go on now; give each to `receive` again."""
        self._refresh()
        return self._held.take_ready()

    @property
    def has_void_changes(self) -> bool:
        """Whether the folder ledger did something to logs that is still to be carried out."""
        self._refresh()
        return bool(self._void_changes)

    def take_void_changes(self) -> list[VoidChange]:
        """What the folder ledger's growth did to logs since the last call."""
        self._refresh()
        changes, self._void_changes = self._void_changes, []
        return changes

    # ------------------------------------------------------------ storing

    def take_changed(self) -> list[tuple[str, bytes]]:
        """Values of the logs that changed since the last call, to be stored with changesets."""
        self.declarations()
        rows = [self._logs[log_id].row() for log_id in sorted(self._changed)]
        self._changed.clear()
        told = [(f"declared:{i.hex()}", wire) for i, wire in self._declarations.take_changed()]
        return [(f"log:{row.log_id.hex()}", row.encode()) for row in rows] + told

    def restore(
        self,
        values: Mapping[str, bytes],
        positions: Iterable[tuple[LogId, int, bytes, int]],
        quarantined: Iterable[tuple[LogId, int, bytes, int]] = (),
    ) -> None:
        """Takes up stored values, with (log, seq, hash, Lamport time) of changesets, by seq."""
        rows = [LogRow.decode(v) for name, v in values.items() if name.startswith("log:")]
        told: defaultdict[LogId, list[tuple[int, bytes, int]]] = defaultdict(list)
        for log_id, seq, hash_, lamport in positions:
            told[log_id].append((seq, hash_, lamport))
        for row in rows:
            self._logs[row.log_id] = Log.of_row(row, told[row.log_id])
            if row.void_from != row.undone_from:  # a run ended before it was carried out
                is_cut = any(seq > row.seq for seq, _, _ in told[row.log_id])
                feed_from = row.seq + 1 if is_cut else 0
                change = VoidChange(row.log_id, row.undone_from, row.void_from, feed_from)
                self._void_changes.append(change)
        self._declarations.restore(v for n, v in values.items() if n.startswith("declared:"))
        self._versions = (None, None)  # the ledgers may have grown since
        for log_id, seq, hash_, lamport in quarantined:
            self._remember(log_id, seq, hash_, lamport)

    # ------------------------------------------------------------ the checks

    def _judge(self, changeset: Changeset) -> Received:
        slot = changeset.slot
        if slot.folder_id != self._ledger.folder_id:
            raise BadRecord("a changeset of another folder")
        # 2: what it says it knew of the membership is known here, and lets the device in.
        unknown = tuple(head for head in slot.heads if head not in self._ledger)
        if unknown:
            return self._hold(changeset, Held(Wait.LEDGER, entries=unknown))
        admissions = self._ledger.state(slot.heads).devices.get(slot.device_id)
        if admissions is None:
            raise NotEntitled("a changeset of a device that is not in the folder")
        # 3
        try:
            verify_slot(
                admissions[0].certificate.sign_pk, changeset.signature, changeset.slot_bytes,
                changeset.body_hash,
            )  # fmt: skip
        except SignatureError:
            raise BadSignature("a changeset is not signed by its device") from None
        log = self._log_of(slot)
        return self._judge_position(changeset, log) or self._judge_content(changeset, log)

    def _judge_position(self, changeset: Changeset, log: Log) -> Received | None:
        """Checks 4 and 5: None for the next changeset of a log that goes on."""
        slot, hash_ = changeset.slot, changeset.hash
        position = Position(log.log_id, slot.seq)
        if FrontierEntry(*position, hash_) in self._quarantined:
            return Duplicate(position)
        if slot.seq <= log.seq:
            ours = log.hash_at(slot.seq)
            if ours is None or ours == hash_:
                return Duplicate(position)
            return self._later_on_branch(changeset, log) or self._forked(changeset, log, ours)
        if log.stopped_at and slot.seq >= log.stopped_at:
            return self._quarantine(changeset, Fault.STOPPED)
        if FrontierEntry(log.log_id, slot.seq - 1, slot.previous) in self._quarantined:
            return self._quarantine(changeset, Fault.FORKED)
        if log.note_floor(slot):  # signed: whoever is behind it may begin there
            self._changed.add(log.log_id)
            self._declarations.keep(changeset)
            self._held.told_below(log.log_id, slot.floor)
        if slot.seq > log.seq + 1 and slot.seq != log.floor:
            first = log.floor if log.seq + 1 < log.floor <= slot.seq else log.seq + 1
            before = Position(log.log_id, slot.seq - 1)
            return self._hold(changeset, Gap(log.log_id, first, slot.seq - 1), before)
        if slot.seq == log.seq + 1 and log.lamports and slot.previous != log.hash:
            # The position before has another changeset there; the sender's shows the fork.
            before = Position(log.log_id, log.seq)
            return self._hold(changeset, Gap(log.log_id, log.seq, log.seq), before)
        # 5
        if log.void_from or self.is_void(changeset):
            return self._take_void(changeset, log)
        if self._ledger.is_revocation_pending(slot.device_id):
            return self._hold(changeset, Held(Wait.EXPEL))
        return None

    def _judge_content(self, changeset: Changeset, log: Log) -> Received:
        """Checks 6 to 9: what only a dishonest or broken author fails freezes its log."""
        slot = changeset.slot
        is_next = slot.seq == log.seq + 1
        try:
            self._check_knowledge(slot, log if log.lamports else None)
            # 7
            record_key = self._epochs.record_key(slot.epoch_id)
            if record_key is None:
                return self._hold(changeset, Held(Wait.KEY))
            body = open_changeset(changeset, record_key)
            # 8
            known = log.frontier if is_next else None
            seen = grown(slot, log.log_id, known, body.frontier)
            if absent := missing(self._logs, self._quarantined, body.frontier):
                return self._hold(changeset, Held(Wait.LOGS, positions=tuple(absent)), *absent)
            # 9
            previous = 0 if slot.seq == 1 else None
            if is_next and log.lamports:
                previous = log.lamports[-1]
            check_lamport(slot, previous, body.frontier, seen, self._logs, self._quarantined)
        except LimitReached:
            raise
        except ProtocolError as error:
            return self.freeze(changeset, error)
        return Accepted(changeset, body, seen)

    def _check_knowledge(self, slot: Slot, log: Log | None) -> None:
        """Check 6: the author forgot no entry, may write, and sealed under a covering epoch."""
        if log is not None and slot.heads != (last := log.heads_at(log.seq)):
            if self._ledger.past_of(last) & ~self._ledger.past_of(slot.heads):
                raise BadEpoch("a changeset that knows less of the membership than the one before")
        if log is not None and slot.floor < log.head_floor:
            raise BadSequence("a floor that was lowered")
        state = self._ledger.state(slot.heads)
        if state.role_of_device(slot.device_id) < Role.WRITE:
            raise NotEntitled("a changeset of a device that may only read")
        if not self._ledger.is_covering(slot.epoch_id, slot.heads):
            raise BadEpoch("a changeset under an epoch that does not cover what its author knew")

    # ------------------------------------------------------------ what does not count

    def _later_on_branch(self, changeset: Changeset, log: Log) -> Quarantined | Held | Gap | None:
        """What becomes of a changeset whose branch left ours before it: where they part decides."""
        slot = changeset.slot
        before = Position(log.log_id, slot.seq - 1)
        if log.hash_at(before.seq) in (None, slot.previous):
            return None
        if FrontierEntry(*before, slot.previous) in self._quarantined:
            return self._quarantine(changeset, Fault.FORKED)
        return self._hold(changeset, Gap(log.log_id, before.seq, before.seq), before)

    def _forked(self, changeset: Changeset, log: Log, ours: bytes) -> ForkProof:
        """The branch of the smaller hash counts, everywhere; the other is kept."""
        seq = changeset.slot.seq
        log.forked_at = min(log.forked_at or seq, seq)
        self._changed.add(log.log_id)
        is_theirs_counting = changeset.hash < ours
        if not is_theirs_counting:
            self._quarantine(changeset)
        return ForkProof(Position(log.log_id, seq), ours, changeset, is_theirs_counting)

    def _take_void(self, changeset: Changeset, log: Log) -> Quarantined:
        """A void changeset holds its place, since others may rest on it, and does nothing."""
        if changeset.slot.seq != log.seq + 1:
            log.begin_at(changeset.slot.seq)
        log.append(changeset.slot, changeset.hash)
        if not log.void_from:
            log.void_from = log.undone_from = log.seq
        log.unchecked_from = log.unchecked_from or log.seq
        self._advanced(log)
        return Quarantined(changeset, Fault.VOID)

    def _quarantine(self, changeset: Changeset, fault: Fault = Fault.STOPPED) -> Quarantined:
        slot = changeset.slot
        self._remember(changeset.log_id, slot.seq, changeset.hash, slot.lamport)
        return Quarantined(changeset, fault)

    def _remember(self, log_id: LogId, seq: int, hash_: bytes, lamport: int) -> None:
        if len(self._quarantined) >= QUARANTINED_MAX:
            del self._quarantined[next(iter(self._quarantined))]
        self._quarantined[FrontierEntry(log_id, seq, hash_)] = lamport
        self._held.told(Position(log_id, seq))

    # ------------------------------------------------------------ bookkeeping

    def _log_of(self, slot: Slot) -> Log:
        log_id = slot.log_id
        log = self._logs.get(log_id)
        if log is None:
            log = self._logs[log_id] = Log(log_id, slot.device_id, slot.incarnation)
        return log

    def _advanced(self, log: Log) -> None:
        self._changed.add(log.log_id)
        self._held.told(Position(log.log_id, log.seq))

    def _hold(self, changeset: Changeset, answer: Held | Gap, *waits_for: Position) -> Held | Gap:
        self._held.hold(changeset.hash, changeset.wire, waits_for)
        return answer

    def _refresh(self) -> None:
        """Looks again at what depends on the ledgers, after they or the keys have grown."""
        versions = (self._ledger.version, self._epochs.version)
        if versions == self._versions:
            return
        if versions[0] != self._versions[0]:
            for log in self._logs.values():
                self._judge_void(log)
        self._versions = versions
        self._held.ledger_grew()

    def _judge_void(self, log: Log) -> None:
        before, after = log.void_from, self._first_void(log)
        if before == after:
            return
        log.void_from = after
        feed_from = 0
        if log.unchecked_from and (not after or after > log.unchecked_from):
            # Positions that were taken unseen count now: they have to pass the checks first.
            feed_from = log.cut(log.unchecked_from)
        self._void_changes.append(VoidChange(log.log_id, before, log.void_from, feed_from))
        self._changed.add(log.log_id)

    def _first_void(self, log: Log) -> int:
        """The first void position of a log, 0 if none is; monotone in a run of equal heads."""
        ends = [*(first - 1 for first, _ in log.knowledge[1:]), log.seq]
        for (first, heads), last in zip(log.knowledge, ends, strict=False):
            low, high = first, last + 1
            while low < high:
                middle = (low + high) // 2
                hash_ = log.hash_at(middle) or b""
                if self._is_void(log.device_id, heads, log.log_id, middle, hash_):
                    high = middle
                else:
                    low = middle + 1
            if low <= last:
                return low
        return 0

    def _is_void(
        self,
        device_id: DeviceId,
        heads: Sequence[EntryId],
        log_id: LogId,
        seq: int,
        hash_: bytes,
    ) -> bool:
        log = self._logs.get(log_id)

        def lies_on(pin: Pin) -> bool:
            if pin.log_id != log_id or seq > pin.seq:
                return False
            if seq == pin.seq:
                return hash_ == pin.hash
            pinned = None if log is None else log.hash_at(pin.seq)
            return pinned is None or pinned == pin.hash

        return self._ledger.void_rule(device_id, heads).is_void(lies_on)
