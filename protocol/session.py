"""The conversation of two devices on an authenticated link, with no I/O: frames in, events out.

Both sides are alike: each greets, says how far it knows ledgers and logs, pushes what the other
lacks and asks for chunks. What may come when is in the table HANDLERS. What a message means for
folders, keys and files is the owner's business; the session bounds it and keeps count.

The owner's loop: `receive` a frame, take all of `next_event`, send all of `frames_to_send`, wait
until the link has drained, and only then receive the next one; call `handle_timer` at
`next_deadline`. A peer that does not read can then make us hold no more than one answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final

from crypto.ids import ChunkId, FolderId, LogId
from protocol.changesets import FrontierEntry
from protocol.chunk_frames import Chunks, Piece, split_pieces
from protocol.chunk_requests import AskedChunks, ServedChunks
from protocol.errors import (
    ErrorCode,
    LimitReached,
    NotEntitled,
    ProtocolError,
    TimedOut,
    Unexpected,
)
from protocol.events import (
    BackupsReceived,
    ChangesetsNeeded,
    ChangesetsReceived,
    ChunksCancelled,
    ChunksMissing,
    ChunksReceived,
    ChunksWanted,
    Closed,
    EndKeysReceived,
    Event,
    FolderShared,
    FolderUnshared,
    FrontierReceived,
    LedgerHeadsReceived,
    LedgerReceived,
    LinksReceived,
    PathsReceived,
    PeerGreeted,
    PeerState,
    RelaysReceived,
    TrailsReceived,
    UploadLinksReceived,
    WrapsReceived,
)
from protocol.folder_exchange import FolderExchange, split_by_bytes
from protocol.messages import (
    CLOSE_TEXT_LENGTH_MAX,
    FORMS,
    PROTOCOL_VERSION,
    BackupsKnown,
    Cancel,
    Changesets,
    Close,
    EndKeysKnown,
    Frontier,
    Greeting,
    Ledger,
    LedgerHeadsKnown,
    LinksKnown,
    Message,
    Missing,
    Paths,
    Ping,
    Pong,
    RelaysKnown,
    State,
    TrailsKnown,
    Unshare,
    UploadLinksKnown,
    Want,
    Wraps,
    decode,
    encode,
    presentable,
    presentable_name,
)

GREETING_TIMEOUT_S: Final = 5.0
"""From the end of the handshake to the first message (ATTACKS A29)."""
PING_AFTER_S: Final = 20.0
"""Silence after which we ask whether the other side is there; also keeps a NAT's mapping alive."""
SILENCE_MAX_S: Final = 60.0
"""Silence after which the other side is gone."""
DOUBT_MAX_S: Final = 5.0
"""How long an answer may take when there is reason to think that the other side is gone."""
FOLDERS_MAX: Final = 1024
"""Folders that one session talks of."""

Frame = tuple[int, Sequence[bytes | memoryview], bool]
"""Message number, payload in parts, and whether it is bulk: chunks, which need no order."""


class SessionState(Enum):
    """How far the conversation has come."""

    GREETING = "greeting"
    OPEN = "open"
    CLOSED = "closed"


class Session:
    """One conversation; the other side's offences end it with `Closed`, and nothing is raised."""

    def __init__(self, now: float, device_name: str) -> None:
        """Begins by greeting; `device_name` is what the other side will show for this device."""
        self.state = SessionState.GREETING
        self.round_trip_s: float | None = None
        """From the last PING to its PONG."""
        self._events: deque[Event] = deque()
        self._frames: list[Frame] = []
        self._folders: dict[FolderId, FolderExchange] = {}
        self._asked = AskedChunks()
        self._served = ServedChunks()
        self._now = now
        self._greeting_until = now + GREETING_TIMEOUT_S
        self._heard_at = now
        self._ping_at = now + PING_AFTER_S
        self._pings = 0
        self._peer_version = PROTOCOL_VERSION
        self._pinged_at: float | None = None
        self._doubted_until: float | None = None
        self.send(Greeting(PROTOCOL_VERSION, presentable_name(device_name)))

    # From the link

    def receive(self, number: int, payload: bytes, now: float) -> None:
        """Takes in one frame; an offence closes the session and is told by `Closed`."""
        if self.state is SessionState.CLOSED:
            return
        self.note_progress(now)
        if self._peer_version > PROTOCOL_VERSION and number > max(FORMS):
            return  # it speaks of something that only a later version knows
        try:
            message = decode(number, payload)
            handler = HANDLERS[self.state].get(type(message))
            if handler is None:
                raise Unexpected(f"{type(message).__name__} while {self.state.value}")
            handler(self, message)
        except ProtocolError as error:
            self._fail(error)

    def note_progress(self, now: float) -> None:
        """Some bytes arrived, perhaps not yet a whole frame: the other side lives."""
        self._now = self._heard_at = now
        self._ping_at = now + PING_AFTER_S
        self._doubted_until = None

    def doubt(self, now: float) -> None:
        """Something says that the other side is gone: it has five seconds to prove it wrong."""
        if self.state is SessionState.CLOSED or self._doubted_until is not None:
            return
        self._doubted_until = now + DOUBT_MAX_S
        self._ping(now)

    def is_doubted_for(self, now: float) -> float:
        """For how many seconds the other side has been doubted; 0 if it is not."""
        return 0.0 if self._doubted_until is None else now - (self._doubted_until - DOUBT_MAX_S)

    def measure(self, now: float) -> None:
        """Asks for an answer, so that `round_trip_s` is known soon."""
        if self.state is not SessionState.CLOSED:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self._ping_at = now + PING_AFTER_S
        self._pings += 1
        self._pinged_at = now
        self.send(Ping(self._pings))

    def next_event(self) -> Event | None:
        """What happened, oldest first; None when all of it was told."""
        return self._events.popleft() if self._events else None

    def frames_to_send(self) -> list[Frame]:
        """What is to be sent now, in this order."""
        frames, self._frames = self._frames, []
        return frames

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called, if nothing happens before."""
        if self.state is SessionState.CLOSED:
            return None
        deadlines = [self._ping_at, self._heard_at + SILENCE_MAX_S]
        if self.state is SessionState.GREETING:
            deadlines.append(self._greeting_until)
        if self._doubted_until is not None:
            deadlines.append(self._doubted_until)
        deadlines += [f.retry_at for f in self._folders.values() if f.retry_at is not None]
        return min(deadlines)

    def handle_timer(self, now: float) -> None:
        """Does what has become due: pings, gives up, offers again."""
        self._now = now
        if self.state is SessionState.CLOSED:
            return
        if self.state is SessionState.GREETING and now >= self._greeting_until:
            self._fail(TimedOut("no greeting"))
        elif now >= self._heard_at + SILENCE_MAX_S:
            self._fail(TimedOut(f"silent for {SILENCE_MAX_S:.0f} s"))
        elif self._doubted_until is not None and now >= self._doubted_until:
            self._fail(TimedOut("it gave no sign of life"))
        elif now >= self._ping_at:
            self._ping(now)
        for folder_id, folder in self._folders.items():
            if folder.retry_at is not None and now >= folder.retry_at:
                folder.retry()
                self._need_changesets(folder_id, folder)

    # From the owner

    def send(self, message: Message) -> None:
        """Sends a message that needs no bookkeeping here: ledger heads, wraps, states."""
        if self.state is not SessionState.CLOSED:
            number, parts = encode(message)
            self._frames.append((number, parts, isinstance(message, Chunks)))

    def send_ledger(self, kind: int, ledger_id: bytes, entries: Sequence[bytes]) -> None:
        """Sends entries of a ledger, parents first, in as many messages as it takes."""
        for run in split_by_bytes(entries):
            self.send(Ledger(kind, ledger_id, run))

    def share(self, folder_id: FolderId, entries: Iterable[FrontierEntry]) -> None:
        """Begins to talk of a folder, with all logs that we hold; only if the other is entitled."""
        folder = self._folders.setdefault(folder_id, FolderExchange())
        # What came while it was not shared was passed over, and is answered by that.
        batch = 0 if folder.is_shared_here else folder.received_batches
        folder.share_here()
        self.update_frontier(folder_id, entries, batch=batch)

    def unshare(self, folder_id: FolderId) -> None:
        """Stops talking of a folder, and answering for it."""
        folder = self._folders.get(folder_id)
        if folder is not None and folder.is_shared_here:
            folder.unshare_here()
            self._asked.cancel_folder(folder_id)
            self._served.cancel_folder(folder_id)
            self.send(Unshare(folder_id))

    def update_frontier(
        self,
        folder_id: FolderId,
        entries: Iterable[FrontierEntry],
        *,
        applied: bool = False,
        batch: int = 0,
    ) -> None:
        """Tells how far we hold the logs that changed, or have applied them to disk.

        `batch` answers all ChangesetsReceived up to that one, taken or not: it opens the other
        side's window. Nothing happens for a folder that is not shared.
        """
        folder = self._folders.get(folder_id)
        if folder is None or not folder.is_shared_here:
            return
        positions = tuple(entries)
        self.send(Frontier(folder_id, positions, applied, batch))
        if not applied:
            folder.update_ours(positions)
            self._need_changesets(folder_id, folder)

    def offer_changesets(
        self, folder_id: FolderId, log_id: LogId, first_seq: int, changesets: Sequence[bytes]
    ) -> None:
        """Answers ChangesetsNeeded for one log: its changesets from `first_seq` on, or none."""
        folder = self._folders.get(folder_id)
        if folder is None:
            return
        for run in folder.offer(log_id, first_seq, changesets):
            self.send(Changesets(folder_id, run))
        self._need_changesets(folder_id, folder)

    def show_changesets(
        self, folder_id: FolderId, log_id: LogId, first_seq: int, changesets: Sequence[bytes]
    ) -> None:
        """Sends changesets beside the order of their log, which goes on where it was."""
        folder = self._folders.get(folder_id)
        for run in folder.show(log_id, first_seq, changesets) if folder is not None else ():
            self.send(Changesets(folder_id, run))

    def want(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> int:
        """Asks for chunks; each is answered by ChunksReceived or ChunksMissing of this request."""
        want = self._asked.open(folder_id, chunk_ids)
        folder = self._folders.get(folder_id)
        is_open = self.state is not SessionState.CLOSED
        if is_open and folder is not None and folder.is_shared_there:
            self.send(want)
        else:
            # They unshared it while the owner was deciding.
            self._asked.abandon(want.request)
            self._events.append(ChunksMissing(folder_id, want.request, want.chunk_ids))
        return want.request

    def cancel(self, request: int) -> None:
        """Takes a request back; no event of it follows."""
        if self._asked.cancel(request):
            self.send(Cancel(request))

    def give(self, request: int, pieces: Sequence[Piece]) -> None:
        """Answers a request with chunks; nothing is sent if it was taken back."""
        if self._served.answer(request, [piece.chunk_index for piece in pieces]):
            for run in split_pieces(pieces):
                self.send(Chunks(request, run))

    def give_missing(self, request: int, indexes: Sequence[int]) -> None:
        """Answers a request with what is not here."""
        if self._served.answer(request, indexes):
            self.send(Missing(request, tuple(indexes)))

    def close(self, code: int = ErrorCode.NONE, text: str = "") -> None:
        """Ends the session; the CLOSE is the last frame to send."""
        self.send(Close(code, presentable(text, CLOSE_TEXT_LENGTH_MAX)))
        self.state = SessionState.CLOSED

    # Private

    def _fail(self, error: ProtocolError) -> None:
        # The text stays here: it may quote what a stranger sent, and the code says enough to them.
        self.close(error.code)
        self._events.append(Closed(error.code, str(error), by_peer=False))

    def _folder(self, folder_id: FolderId) -> FolderExchange | None:
        """A folder that we share; None if we stopped a moment ago; raises NotEntitled if never."""
        folder = self._folders.get(folder_id)
        if folder is None or not folder.was_shared_here:
            raise NotEntitled("a folder that is not shared here")
        return folder if folder.is_shared_here else None

    def _need_changesets(self, folder_id: FolderId, folder: FolderExchange) -> None:
        if logs := folder.needs():
            self._events.append(ChangesetsNeeded(folder_id, logs, folder.budget_bytes))

    def _on_greeting(self, message: Greeting) -> None:
        self.state = SessionState.OPEN
        self._peer_version = message.version
        self._events.append(PeerGreeted(message.version, message.device_name))

    def _on_ledger_heads(self, message: LedgerHeadsKnown) -> None:
        self._events.append(LedgerHeadsReceived(message.ledgers))

    def _on_ledger(self, message: Ledger) -> None:
        self._events.append(LedgerReceived(message.kind, message.ledger_id, message.entries))

    def _on_wraps(self, message: Wraps) -> None:
        self._events.append(WrapsReceived(message.folder_id, message.epoch_id, message.wraps))

    def _on_frontier(self, message: Frontier) -> None:
        folder_id = message.folder_id
        folder = self._folders.get(folder_id)
        if folder is None:
            if len(self._folders) >= FOLDERS_MAX:
                raise LimitReached(f"more than {FOLDERS_MAX} folders")
            folder = self._folders[folder_id] = FolderExchange()
        if message.applied:
            if not folder.is_shared_there:
                raise Unexpected("a folder applied before it is shared")
            self._events.append(FrontierReceived(folder_id, message.entries, applied=True))
            return
        folder.update_theirs(message.entries, message.batch, self._now)
        if folder.is_shared_there:
            self._events.append(FrontierReceived(folder_id, message.entries, applied=False))
        else:
            folder.is_shared_there = True
            self._events.append(FolderShared(folder_id, message.entries))
        self._need_changesets(folder_id, folder)

    def _on_changesets(self, message: Changesets) -> None:
        folder = self._folder(message.folder_id)
        exchange = self._folders[message.folder_id]
        exchange.received_batches += 1
        if folder is not None:
            batch = folder.received_batches
            event = ChangesetsReceived(message.folder_id, message.changesets, batch)
            self._events.append(event)

    def _on_unshare(self, message: Unshare) -> None:
        folder = self._folders.get(message.folder_id)
        if folder is None or not folder.is_shared_there:
            raise Unexpected("a folder unshared that was not shared")
        folder.unshare_there()
        self._asked.cancel_folder(message.folder_id)
        self._served.cancel_folder(message.folder_id)
        self._events.append(FolderUnshared(message.folder_id))

    def _on_want(self, message: Want) -> None:
        if self._folder(message.folder_id) is not None:
            self._served.open(message)
            event = ChunksWanted(message.folder_id, message.request, message.chunk_ids)
            self._events.append(event)

    def _on_cancel(self, message: Cancel) -> None:
        if self._served.cancel(message.request):
            self._events.append(ChunksCancelled(message.request))

    def _on_missing(self, message: Missing) -> None:
        if (missed := self._asked.miss(message)) is not None:
            folder_id, chunk_ids = missed
            self._events.append(ChunksMissing(folder_id, message.request, chunk_ids))

    def _on_chunks(self, message: Chunks) -> None:
        if (received := self._asked.receive(message)) is not None:
            folder_id, chunks = received
            self._events.append(ChunksReceived(folder_id, message.request, chunks))

    def _on_relays(self, message: RelaysKnown) -> None:
        self._events.append(RelaysReceived(message.records))

    def _on_backups(self, message: BackupsKnown) -> None:
        self._events.append(BackupsReceived(message.vault_secret, message.records))

    def _on_trails(self, message: TrailsKnown) -> None:
        self._events.append(TrailsReceived(message.checkpoints))

    def _on_links(self, message: LinksKnown) -> None:
        self._events.append(LinksReceived(message.records, message.wishes))

    def _on_end_keys(self, message: EndKeysKnown) -> None:
        self._events.append(EndKeysReceived(message.keys))

    def _on_upload_links(self, message: UploadLinksKnown) -> None:
        self._events.append(UploadLinksReceived(message.records))

    def _on_state(self, message: State) -> None:
        if self._folder(message.folder_id) is not None:
            self._events.append(
                PeerState(message.folder_id, message.need_files, message.need_bytes, message.paused)
            )

    def _on_ping(self, message: Ping) -> None:
        self.send(Pong(message.value))

    def _on_pong(self, message: Pong) -> None:
        if message.value == self._pings and self._pinged_at is not None:
            self.round_trip_s = self._now - self._pinged_at
            self._pinged_at = None

    def _on_paths(self, message: Paths) -> None:
        self._events.append(PathsReceived(message.round, message.secret, message.candidates))

    def _on_close(self, message: Close) -> None:
        self.state = SessionState.CLOSED
        self._events.append(Closed(message.code, message.text, by_peer=True))


_Handler = Callable[[Session, Any], None]

# The whole state machine: what is not here is not allowed. A greeting comes once and first; a close
# may come at any time; after it, nothing is read.
HANDLERS: Final[dict[SessionState, dict[type[Message], _Handler]]] = {
    SessionState.GREETING: {
        Greeting: Session._on_greeting,
        Close: Session._on_close,
    },
    SessionState.OPEN: {
        LedgerHeadsKnown: Session._on_ledger_heads,
        Ledger: Session._on_ledger,
        Wraps: Session._on_wraps,
        Frontier: Session._on_frontier,
        Changesets: Session._on_changesets,
        Unshare: Session._on_unshare,
        Want: Session._on_want,
        Cancel: Session._on_cancel,
        Missing: Session._on_missing,
        Chunks: Session._on_chunks,
        State: Session._on_state,
        RelaysKnown: Session._on_relays,
        BackupsKnown: Session._on_backups,
        TrailsKnown: Session._on_trails,
        LinksKnown: Session._on_links,
        EndKeysKnown: Session._on_end_keys,
        UploadLinksKnown: Session._on_upload_links,
        Ping: Session._on_ping,
        Pong: Session._on_pong,
        Close: Session._on_close,
        Paths: Session._on_paths,
    },
    SessionState.CLOSED: {},
}
