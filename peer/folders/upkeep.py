"""What a folder at rest does for its own logs: decides when to compact, and lets go of what the
retention has released.

It costs nothing in normal use: a look at a few numbers when the folder comes to rest; the index is
asked at most once a day, and only if there is enough to gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crypto.ids import LogId
from peer.core.commands import Commit, MeasureLog
from peer.core.compaction import RECORDS_BYTES, TELL_AGAIN, Compaction
from peer.core.engine import Engine
from peer.folders.retention import NOTES, Retention
from protocol.changesets import Changeset
from protocol.errors import ProtocolError

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Policy:
    """When a log is compacted, and how long what it supersedes is kept."""

    changesets_min: int = 4_096
    """Above the floor, before anything is looked at: a newcomer reads so many in a second or two,
    and they are 3 MB. Less is not worth telling anything again.
    """
    ratio_min: int = 2
    """How many times as large the log has to be as what of it counts, as the index holds that: a
    small file takes 190 bytes there, told again 98, and a large one's chunk list the same in both.
    So all that is told again is a quarter to a half of what was written in the first place, and a
    newcomer reads at most four times what it needs.
    """
    interval_s: int = DAY_S
    """How often it is measured whether it is worth it, which walks through the index."""
    keep_s: int = 30 * DAY_S
    """How long superseded changesets stay: who removes somebody may have been away, and not know
    what came after (MERGE 17).
    """
    piece_bytes: int = RECORDS_BYTES
    """Records in one changeset of a compaction."""


class Upkeep:
    """One folder's, between two starts."""

    def __init__(self, engine: Engine, policy: Policy, values: Mapping[str, bytes]) -> None:
        """`values`: what the index has kept by name."""
        self._engine, self._policy = engine, policy
        self._retention = Retention.load(values.get(NOTES, b""), engine.book)
        self._is_owed = bool(values.get(TELL_AGAIN))
        self._work: Compaction | None = None
        self._rewinds = engine.rewinds
        self._measured_s: int | None = None
        self._told_again: tuple[LogId, int] | None = None
        """The log and the position with which the last compaction ended."""
        self.compactions = 0
        """How many were brought to their end."""

    def compact_now(self) -> None:
        """The log is to be compacted whatever there is to gain."""
        self._is_owed = True

    async def step(self, now_s: int) -> list[Changeset] | None:
        """One piece of work, and the changesets that came of it; None when there is none."""
        if self._engine.rewinds != self._rewinds:
            # What was passed over may count now: from the start, once it has settled.
            self._rewinds = self._engine.rewinds
            self._is_owed = self._is_owed or self._work is not None or self._floor > 1
            self._work = None
        try:
            if self._work is None:
                self._work = await self._begin(now_s)
            if self._work is not None:
                return await self._compact(self._work)
        except ProtocolError:  # it may not write, or not yet: this can wait
            self._work = None
        return await self._let_go(now_s)

    # ------------------------------------------------------------ compacting

    @property
    def _log_id(self) -> LogId:
        engine = self._engine
        return engine.book.log_id(engine.keys.device_id, engine.incarnation)

    @property
    def _floor(self) -> int:
        return self._engine.book.floor_of(self._log_id)[0]

    async def _begin(self, now_s: int) -> Compaction | None:
        book, log_id, floor = self._engine.book, self._log_id, self._floor
        if self._is_owed:
            return self._new()
        since = floor
        if self._told_again is not None and self._told_again[0] == log_id:
            # What a compaction itself wrote in many small pieces is no reason for another one.
            since = max(floor, self._told_again[1])
        if book.seq_of(log_id) - since < self._policy.changesets_min or self._is_measured(now_s):
            return None
        self._measured_s = now_s
        size = await MeasureLog(log_id, floor)
        is_worth_it = size.bytes >= self._policy.ratio_min * size.live_bytes
        return self._new() if is_worth_it else None

    def _new(self) -> Compaction | None:
        work = Compaction.of(self._engine.book, self._log_id)
        if work is not None:
            work.piece_bytes = self._policy.piece_bytes
        return work

    def _is_measured(self, now_s: int) -> bool:
        before = self._measured_s
        return before is not None and before <= now_s < before + self._policy.interval_s

    async def _compact(self, work: Compaction) -> list[Changeset]:
        authored = await self._engine.compact(work)
        if work.is_done:
            self._work, self._is_owed = None, False
            self._told_again = work.log_id, self._engine.book.seq_of(work.log_id)
            self.compactions += 1
        return authored

    # ------------------------------------------------------------ letting go

    async def _let_go(self, now_s: int) -> list[Changeset] | None:
        retention, book = self._retention, self._engine.book
        if retention.note(book, now_s):
            await Commit(values=[(NOTES, retention.encode())])
        due = retention.due(now_s, self._policy.keep_s)
        if due:
            await retention.forget(book, due)
            return []
        if retention.leftover:
            await retention.sweep(book)
            return []
        return None
