"""What two devices know of each other's logs of one folder, and what one has yet to send.

The other side's frontier plus what we sent is what it is taken to hold. Sent changesets count
against a window until it answers them, so that a slow reader never has megabytes waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from crypto.ids import LogId
from protocol.changesets import FrontierEntry
from protocol.errors import LimitReached, Unexpected
from protocol.events import LogNeed
from protocol.messages import CHANGESETS_MAX, LOGS_MAX

UNANSWERED_BYTES_MAX: Final = 4 << 20
"""Changesets on their way or being verified; at 500 bytes each, seconds of the receiver's work."""
CHANGESETS_FRAME_BYTES: Final = 1 << 20
"""Changesets share a frame up to this size, so that verifying starts before the last has come."""
RETRY_DELAY_S: Final = 30.0
RETRY_DELAY_MAX_S: Final = 600.0
"""How long we wait before offering again what was answered but not taken, doubling up to this."""


class _Sent(NamedTuple):
    batch: int
    log_id: LogId
    seq: int
    size_bytes: int


class FolderExchange:
    """One folder of one session, both directions. Logs count from 1; seq 0 is nothing held."""

    def __init__(self) -> None:
        self.is_shared_here = False
        self.is_shared_there = False
        self.was_shared_here = False
        """Messages that crossed with our `unshare` are no offence."""
        self.received_batches = 0
        self.answered_batch = 0
        self.retry_at: float | None = None
        self._ours: dict[LogId, int] = {}
        self._theirs: dict[LogId, int] = {}
        self._sent: dict[LogId, int] = {}
        self._behind: set[LogId] = set()
        self._asked: set[LogId] = set()
        self._unanswered: deque[_Sent] = deque()
        self._unanswered_bytes = 0
        self._sent_batches = 0
        self._retry_delay_s = RETRY_DELAY_S

    @property
    def budget_bytes(self) -> int:
        """How many bytes of changesets may be sent before the other side answers."""
        return max(0, UNANSWERED_BYTES_MAX - self._unanswered_bytes)

    def held_there(self, log_id: LogId) -> int:
        """The position of a log that the other side holds, or will when it has read all."""
        return max(self._theirs.get(log_id, 0), self._sent.get(log_id, 0))

    def share_here(self) -> None:
        """We talk of this folder from now on."""
        self.is_shared_here = self.was_shared_here = True

    def unshare_here(self) -> None:
        """We no longer talk of this folder."""
        self.is_shared_here = False
        self._ours.clear()
        self._forget_sent()

    def unshare_there(self) -> None:
        """The other side no longer talks of this folder; what we sent may not have been read."""
        self.is_shared_there = False
        self._theirs.clear()
        self._forget_sent()

    def update_ours(self, entries: Iterable[FrontierEntry]) -> None:
        """We hold the named logs up to these positions."""
        for log_id, seq, _ in entries:
            self._ours[log_id] = seq
            self._compare(log_id)
        assert len(self._ours) <= LOGS_MAX

    def update_theirs(self, entries: Iterable[FrontierEntry], batch: int, now: float) -> None:
        """The other side holds the named logs up to these positions and has answered `batch`."""
        if batch > self._sent_batches:
            raise Unexpected(f"batch {batch} answered of {self._sent_batches}")
        self.answered_batch = max(self.answered_batch, batch)
        for log_id, seq, _ in entries:
            self._theirs[log_id] = seq
            self._compare(log_id)
        if len(self._theirs) > LOGS_MAX:
            raise LimitReached(f"{len(self._theirs)} logs in a folder")
        unanswered = self._unanswered
        while unanswered and self._is_answered(unanswered[0]):
            self._unanswered_bytes -= unanswered.popleft().size_bytes
        self._settle(now)

    def needs(self) -> tuple[LogNeed, ...]:
        """The logs to offer now, each once until it is offered; none while the window is full."""
        if not (self.is_shared_here and self.is_shared_there and self.budget_bytes):
            return ()
        asked = sorted(self._behind - self._asked)
        self._asked.update(asked)
        return tuple(LogNeed(log_id, self.held_there(log_id)) for log_id in asked)

    def offer(
        self, log_id: LogId, first_seq: int, changesets: Sequence[bytes]
    ) -> list[tuple[bytes, ...]]:
        """Takes note of changesets of a log, in order; gives them back cut into frames.

        An empty offer says that there is nothing to give of what is missing, until we hold more.
        """
        self._asked.discard(log_id)
        if not (self.is_shared_here and self.is_shared_there):
            return []
        frames = self._send(log_id, first_seq, changesets)
        last = first_seq - 1 + len(changesets)
        self._sent[log_id] = last if frames else max(self._ours.get(log_id, 0), last)
        self._compare(log_id)
        return frames

    def show(
        self, log_id: LogId, first_seq: int, changesets: Sequence[bytes]
    ) -> list[tuple[bytes, ...]]:
        """The same for changesets of beside the log's order: what is to be offered stays so."""
        if not (self.is_shared_here and self.is_shared_there):
            return []
        return self._send(log_id, first_seq, changesets)

    def _send(
        self, log_id: LogId, first_seq: int, changesets: Sequence[bytes]
    ) -> list[tuple[bytes, ...]]:
        frames = list(split_by_bytes(changesets))
        seq = first_seq - 1
        for changesets_of_frame in frames:
            seq += len(changesets_of_frame)
            self._sent_batches += 1
            size_bytes = sum(map(len, changesets_of_frame))
            self._unanswered.append(_Sent(self._sent_batches, log_id, seq, size_bytes))
            self._unanswered_bytes += size_bytes
        return frames

    def retry(self) -> None:
        """Takes the other side at its word: what it does not hold by now is to be offered again."""
        self.retry_at = None
        self._retry_delay_s = min(2 * self._retry_delay_s, RETRY_DELAY_MAX_S)
        for log_id in list(self._sent):
            del self._sent[log_id]
            self._compare(log_id)

    def _is_answered(self, sent: _Sent) -> bool:
        return sent.batch <= self.answered_batch or sent.seq <= self._theirs.get(sent.log_id, 0)

    def _settle(self, now: float) -> None:
        # With nothing on its way, a log that is not where our last changeset should have brought it
        # was held back, dropped or refused. The cause may pass without a message to tell of it.
        if self._unanswered:
            return
        for log_id in [log for log, seq in self._sent.items() if seq <= self._theirs.get(log, 0)]:
            del self._sent[log_id]
        if not self._sent:
            self.retry_at = None
            self._retry_delay_s = RETRY_DELAY_S
        elif self.retry_at is None:
            self.retry_at = now + self._retry_delay_s

    def _compare(self, log_id: LogId) -> None:
        if self._ours.get(log_id, 0) > self.held_there(log_id):
            self._behind.add(log_id)
        else:
            self._behind.discard(log_id)

    def _forget_sent(self) -> None:
        self._sent.clear()
        self._asked.clear()
        self._unanswered.clear()
        self._unanswered_bytes = 0
        self.retry_at = None
        self._behind = {log for log, seq in self._ours.items() if seq > self.held_there(log)}


def split_by_bytes(items: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Cuts byte strings into runs for one frame each; one larger than a frame has its own."""
    run: list[bytes] = []
    size_bytes = 0
    for item in items:
        full = size_bytes + len(item) > CHANGESETS_FRAME_BYTES or len(run) == CHANGESETS_MAX
        if run and full:
            yield tuple(run)
            run, size_bytes = [], 0
        run.append(item)
        size_bytes += len(item)
    if run:
        yield tuple(run)
