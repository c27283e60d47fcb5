"""The conversation: playbooks for one side, a pair for two, strangers' bytes for neither."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import ChunkId, EntryId, FolderId, LogId
from protocol import events as e
from protocol import messages as m
from protocol.chunk_frames import Chunks, Piece
from protocol.errors import ErrorCode
from protocol.folder_exchange import UNANSWERED_BYTES_MAX
from protocol.session import DOUBT_MAX_S, FOLDERS_MAX, HANDLERS, Session, SessionState
from tests.playbook import Playbook
from tests.protocol.message_strategies import any_message
from tests.protocol.pair import SessionPair, flat
from tests.protocol.session_stage import Passes, SessionStage, call

FOLDER = FolderId(b"f" * 32)
LOG = LogId(b"l" * 16)
OTHER_LOG = LogId(b"o" * 16)
HASH = b"h" * 32
IDS = tuple(ChunkId(bytes([number]) * 32) for number in range(3))


def at(seq: int, log_id: LogId = LOG) -> m.FrontierEntry:
    return m.FrontierEntry(log_id, seq, HASH)


def frontier(*entries: m.FrontierEntry, applied: bool = False, batch: int = 0) -> m.Frontier:
    return m.Frontier(FOLDER, entries, applied, batch)


def failed(code: ErrorCode, text: str) -> tuple[m.Close, e.Closed]:
    return m.Close(code, ""), e.Closed(code, text, by_peer=False)


def opened() -> tuple[SessionStage, Playbook]:
    stage = SessionStage()
    number, parts = m.encode(m.Greeting(m.PROTOCOL_VERSION, "There"))
    stage.session.receive(number, flat(parts), 0.0)
    assert stage.outputs() == [
        m.Greeting(m.PROTOCOL_VERSION, "Here"),
        e.PeerGreeted(m.PROTOCOL_VERSION, "There"),
    ]
    return stage, Playbook(stage.play)


def sharing(*ours: m.FrontierEntry, theirs: int = 0) -> tuple[SessionStage, Playbook]:
    stage, playbook = opened()
    stage.play(call("share", FOLDER, ours))
    stage.play(frontier(at(theirs)))
    return stage, playbook


def test_both_greet_first() -> None:
    pair = SessionPair()
    pair.roundtrip()
    assert pair.take(pair.left) == [e.PeerGreeted(m.PROTOCOL_VERSION, "right")]
    assert pair.take(pair.right) == [e.PeerGreeted(m.PROTOCOL_VERSION, "left")]


def test_nothing_comes_before_the_greeting() -> None:
    stage = SessionStage()
    stage.outputs()
    playbook = Playbook(stage.play)
    close, closed = failed(ErrorCode.UNEXPECTED, "Ping while greeting")
    playbook >> m.Ping(1) << close << closed
    playbook >> m.Greeting(m.PROTOCOL_VERSION, "There") >> m.Ping(2) >> Passes(100)
    assert playbook
    assert stage.session.next_deadline() is None


def test_nobody_greets_twice() -> None:
    _, playbook = opened()
    close, closed = failed(ErrorCode.UNEXPECTED, "Greeting while open")
    playbook >> m.Greeting(m.PROTOCOL_VERSION, "There") << close << closed
    assert playbook


def test_a_later_version_is_greeted_in_ours() -> None:
    stage = SessionStage()
    stage.outputs()
    playbook = Playbook(stage.play)
    playbook >> m.Greeting(9, "There") << e.PeerGreeted(9, "There")
    assert playbook


def test_who_does_not_greet_is_left() -> None:
    stage = SessionStage()
    stage.outputs()
    playbook = Playbook(stage.play)
    close, closed = failed(ErrorCode.TIMEOUT, "no greeting")
    playbook >> Passes(4.9) >> Passes(0.2) << close << closed
    assert playbook


def test_ledgers_wraps_and_states_pass_through() -> None:
    _, playbook = sharing()
    heads = (m.LedgerHeads(1, FOLDER, (EntryId(HASH),)),)
    wraps = (m.Wrap(HASH, b"sealed"),)  # type: ignore[arg-type]
    playbook >> m.LedgerHeadsKnown(heads) << e.LedgerHeadsReceived(heads)
    playbook >> m.Ledger(0, HASH, (b"entry",)) << e.LedgerReceived(0, HASH, (b"entry",))
    playbook >> m.Wraps(FOLDER, EntryId(HASH), wraps)
    playbook << e.WrapsReceived(FOLDER, EntryId(HASH), wraps)
    playbook >> m.State(FOLDER, 1, 2, True) << e.PeerState(FOLDER, 1, 2, True)
    playbook >> m.RelaysKnown(()) << e.RelaysReceived(())
    playbook >> m.BackupsKnown(b"v" * 32, ()) << e.BackupsReceived(b"v" * 32, ())
    playbook >> m.TrailsKnown((b"c",)) << e.TrailsReceived((b"c",))
    playbook >> m.LinksKnown((), (HASH[:16],)) << e.LinksReceived((), (HASH[:16],))
    entries = [bytes([number]) * 60_000 for number in range(20)]
    playbook >> call("send_ledger", 1, FOLDER, entries)
    playbook << m.Ledger(1, FOLDER, tuple(entries[:17]))
    playbook << m.Ledger(1, FOLDER, tuple(entries[17:]))
    assert playbook


def test_changesets_go_to_who_lacks_them() -> None:
    _, playbook = opened()
    playbook >> frontier(at(1)) << e.FolderShared(FOLDER, (at(1),))
    playbook >> call("share", FOLDER, [at(3)]) << frontier(at(3))
    playbook << e.ChangesetsNeeded(FOLDER, (e.LogNeed(LOG, 1),), UNANSWERED_BYTES_MAX)
    playbook >> call("offer_changesets", FOLDER, LOG, 2, [b"2", b"3"])
    playbook << m.Changesets(FOLDER, (b"2", b"3"))
    playbook >> frontier(at(3), batch=1) << e.FrontierReceived(FOLDER, (at(3),), False)
    playbook >> frontier(at(3), applied=True) << e.FrontierReceived(FOLDER, (at(3),), True)
    playbook >> call("update_frontier", FOLDER, [at(4)]) << frontier(at(4))
    playbook << e.ChangesetsNeeded(FOLDER, (e.LogNeed(LOG, 3),), UNANSWERED_BYTES_MAX)
    assert playbook


def test_changesets_that_come_are_counted_and_answered() -> None:
    stage, playbook = sharing(at(1), theirs=3)
    playbook >> m.Changesets(FOLDER, (b"2",)) << e.ChangesetsReceived(FOLDER, (b"2",), 1)
    playbook >> m.Changesets(FOLDER, (b"3",)) << e.ChangesetsReceived(FOLDER, (b"3",), 2)
    assert playbook
    stage.session.update_frontier(FOLDER, [at(3)], batch=2)
    assert stage.outputs() == [frontier(at(3), batch=2)]
    stage.session.update_frontier(FOLDER, [at(3)], applied=True)
    assert stage.outputs() == [frontier(at(3), applied=True)]
    stage.session.update_frontier(FOLDER, [at(9)], applied=True)
    assert stage.outputs() == [frontier(at(9), applied=True)]


def test_what_was_not_taken_is_offered_again_after_a_while() -> None:
    stage, playbook = sharing(at(1))
    stage.play(call("offer_changesets", FOLDER, LOG, 1, [b"1"]))
    playbook >> frontier(batch=1) << e.FrontierReceived(FOLDER, (), False)
    assert playbook
    deadline = stage.session.next_deadline()
    assert deadline is not None
    playbook >> m.Pong(0) >> Passes(19) >> m.Pong(0) >> Passes(12)
    playbook << e.ChangesetsNeeded(FOLDER, (e.LogNeed(LOG, 0),), UNANSWERED_BYTES_MAX)
    assert playbook


def test_chunks_are_asked_for_and_come() -> None:
    _, playbook = sharing()
    playbook >> call("want", FOLDER, IDS) << m.Want(FOLDER, 0, IDS)
    playbook >> m.Missing(0, (1,)) << e.ChunksMissing(FOLDER, 0, (IDS[1],))
    assert playbook


def test_chunks_arrive_by_their_ids() -> None:
    stage, _ = sharing()
    stage.play(call("want", FOLDER, IDS))
    events = stage.play(Chunks(0, (Piece(2, 0, 1, b"x"), Piece(0, 1, 9, b"y"))))
    received = (e.ReceivedChunk(IDS[2], 0, 1, b"x"), e.ReceivedChunk(IDS[0], 1, 9, b"y"))
    assert events == [e.ChunksReceived(FOLDER, 0, received)]


def test_chunks_are_given() -> None:
    stage, playbook = sharing()
    playbook >> m.Want(FOLDER, 8, IDS) << e.ChunksWanted(FOLDER, 8, IDS)
    playbook >> call("give_missing", 8, [1]) << m.Missing(8, (1,))
    assert playbook
    pieces = (Piece(0, 0, 1, b"x"), Piece(2, 0, 1, b"y"))
    stage.session.give(8, pieces)
    ((number, parts, is_bulk),) = stage.session.frames_to_send()
    assert m.decode(number, flat(parts)) == Chunks(8, pieces)
    assert is_bulk
    stage.session.give(8, pieces)
    assert stage.outputs() == []


def test_a_cancelled_request_is_over_on_both_sides() -> None:
    _, playbook = sharing()
    playbook >> call("want", FOLDER, IDS) << m.Want(FOLDER, 0, IDS)
    playbook >> call("cancel", 0) << m.Cancel(0)
    playbook >> m.Missing(0, (0,))
    playbook >> m.Want(FOLDER, 8, IDS) << e.ChunksWanted(FOLDER, 8, IDS)
    playbook >> m.Cancel(8) << e.ChunksCancelled(8) >> m.Cancel(8)
    playbook >> call("give_missing", 8, [0])
    assert playbook


def test_an_unshared_folder_is_over_on_both_sides() -> None:
    _, playbook = sharing(at(1))
    playbook >> call("want", FOLDER, IDS) << m.Want(FOLDER, 0, IDS)
    playbook >> m.Unshare(FOLDER) << e.FolderUnshared(FOLDER) >> m.Missing(0, (1,))
    playbook >> call("offer_changesets", FOLDER, LOG, 1, [b"1"])
    playbook >> call("want", FOLDER, IDS) << e.ChunksMissing(FOLDER, 1, IDS)
    playbook >> call("unshare", FOLDER) << m.Unshare(FOLDER)
    playbook >> call("unshare", FOLDER) >> call("update_frontier", FOLDER, [at(2)])
    assert playbook


def test_what_crosses_an_unshare_is_no_offence() -> None:
    _, playbook = sharing(at(1))
    playbook >> call("unshare", FOLDER) << m.Unshare(FOLDER)
    playbook >> m.Changesets(FOLDER, (b"1",)) >> m.Want(FOLDER, 0, IDS)
    playbook >> m.State(FOLDER, 1, 1, False)
    playbook >> call("share", FOLDER, [at(1)]) << frontier(at(1), batch=1)
    playbook << e.ChangesetsNeeded(FOLDER, (e.LogNeed(LOG, 0),), UNANSWERED_BYTES_MAX)
    playbook >> m.Changesets(FOLDER, (b"2",)) << e.ChangesetsReceived(FOLDER, (b"2",), 2)
    playbook >> call("share", FOLDER, [at(1)]) << frontier(at(1))
    assert playbook


OFFENCES: dict[str, tuple[m.Message, ErrorCode]] = {
    "changesets of a folder not shared": (m.Changesets(FOLDER, (b"1",)), ErrorCode.NOT_ENTITLED),
    "wanting of a folder not shared": (m.Want(FOLDER, 0, IDS), ErrorCode.NOT_ENTITLED),
    "state of a folder not shared": (m.State(FOLDER, 0, 0, False), ErrorCode.NOT_ENTITLED),
    "unsharing what was not shared": (m.Unshare(FOLDER), ErrorCode.UNEXPECTED),
    "applied before shared": (frontier(applied=True), ErrorCode.UNEXPECTED),
    "a batch that was not sent": (frontier(batch=1), ErrorCode.UNEXPECTED),
    "chunks not asked for": (Chunks(0, (Piece(0, 0, 1, b"x"),)), ErrorCode.UNEXPECTED),
    "missing what was not asked for": (m.Missing(0, (0,)), ErrorCode.UNEXPECTED),
}


@pytest.mark.parametrize(("message", "code"), OFFENCES.values(), ids=OFFENCES.keys())
def test_an_offence_ends_the_session_without_a_reason_on_the_wire(
    message: m.Message, code: ErrorCode
) -> None:
    stage, _ = opened()
    close, closed = stage.play(message)
    assert close == m.Close(code, "")
    assert isinstance(closed, e.Closed)
    assert (closed.code, closed.by_peer) == (code, False)
    assert stage.play(m.Ping(1)) == []


def test_to_share_a_folder_does_not_open_it() -> None:
    stage, _ = opened()
    stage.play(frontier())
    assert stage.play(m.Want(FOLDER, 0, IDS))[0] == m.Close(ErrorCode.NOT_ENTITLED, "")


def test_folders_are_bounded() -> None:
    stage, _ = opened()
    for number in range(FOLDERS_MAX):
        stage.play(m.Frontier(FolderId(number.to_bytes(32)), (), False, 0))
    outputs = stage.play(frontier())
    assert outputs[0] == m.Close(ErrorCode.LIMIT, "")


def test_a_greedy_peer_is_stopped() -> None:
    stage, _ = sharing()
    for request in range(64):
        assert stage.play(m.Want(FOLDER, request, IDS))
    assert stage.play(m.Want(FOLDER, 64, IDS))[0] == m.Close(ErrorCode.LIMIT, "")


def test_silence_is_asked_after_and_then_left() -> None:
    _, playbook = opened()
    close, closed = failed(ErrorCode.TIMEOUT, "silent for 60 s")
    playbook >> Passes(19.9) >> Passes(0.2) << m.Ping(1) >> Passes(10)
    playbook >> Passes(11) << m.Ping(2) >> Passes(19) << close << closed
    assert playbook


def test_who_is_doubted_has_to_answer_soon() -> None:
    stage, playbook = opened()
    stage.session.doubt(stage.now)
    stage.session.doubt(stage.now)  # asked once
    close, closed = failed(ErrorCode.TIMEOUT, "it gave no sign of life")
    playbook >> Passes(0) << m.Ping(1) >> Passes(DOUBT_MAX_S - 0.1)
    playbook >> Passes(0.2) << close << closed
    assert playbook


def test_an_answer_ends_the_doubt() -> None:
    stage, playbook = opened()
    stage.session.doubt(stage.now)
    playbook >> Passes(0) << m.Ping(1) >> Passes(1) >> m.Pong(1) >> Passes(19)
    assert playbook


def test_any_frame_breaks_the_silence_and_so_does_part_of_one() -> None:
    stage, playbook = opened()
    playbook >> Passes(19) >> m.Pong(0) >> Passes(19) >> m.Pong(0) >> Passes(21) << m.Ping(1)
    assert playbook
    stage.session.note_progress(59.0 + 21.0)
    playbook >> Passes(19)
    assert playbook
    assert stage.session.next_deadline() == 100.0


def test_a_ping_is_answered_and_a_pong_measures() -> None:
    stage, playbook = opened()
    playbook >> m.Ping(77) << m.Pong(77) >> Passes(20) << m.Ping(1)
    assert playbook
    stage.now += 0.25
    stage.play(m.Pong(5))
    assert stage.session.round_trip_s is None
    stage.play(m.Pong(1))
    assert stage.session.round_trip_s == 0.25


def test_the_deadline_is_the_next_thing_due() -> None:
    session = Session(10.0, "here")
    assert session.next_deadline() == 15.0
    number, parts = m.encode(m.Greeting(m.PROTOCOL_VERSION, "there"))
    session.receive(number, flat(parts), 11.0)
    assert session.next_deadline() == 31.0


def test_a_close_is_the_last_word() -> None:
    _, playbook = opened()
    playbook >> m.Close(7, "bye") << e.Closed(7, "bye", by_peer=True)
    playbook >> m.Ping(1) >> call("send", m.Ping(1)) >> call("want", FOLDER, IDS)
    playbook << e.ChunksMissing(FOLDER, 0, IDS)
    assert playbook
    _, playbook = opened()
    playbook >> call("close", 0, "\n" + "x" * 300) << m.Close(0, "x" * 200) >> m.Ping(1)
    assert playbook


def test_every_message_has_a_handler_when_open() -> None:
    assert {*HANDLERS[SessionState.OPEN], m.Greeting} == {f.type for f in m.FORMS.values()}
    assert HANDLERS[SessionState.CLOSED] == {}


@settings(max_examples=150)
@given(st.lists(any_message, max_size=6), st.booleans())
def test_no_message_raises_and_what_is_sent_is_of_the_protocol(
    sent: list[m.Message], is_shared: bool
) -> None:
    stage, _ = sharing(at(3)) if is_shared else opened()
    for message in sent:
        stage.play(message)
    stage.play(Passes(61))
    assert stage.session.state is SessionState.CLOSED


@settings(max_examples=300)
@given(st.integers(0, 255), st.binary(max_size=200), st.booleans())
def test_any_bytes_close_at_worst(number: int, payload: bytes, is_shared: bool) -> None:
    stage, _ = sharing(at(3)) if is_shared else opened()
    stage.session.receive(number, payload, 1.0)
    for output in stage.outputs():
        if isinstance(output, e.Closed):
            assert stage.session.state is SessionState.CLOSED


class Owner:
    """Keeps logs of one folder in memory and answers as a peer should, but sometimes in part."""

    def __init__(self, session: Session, rng: random.Random) -> None:
        self.session = session
        self.rng = rng
        self.logs: dict[LogId, list[bytes]] = {LOG: [], OTHER_LOG: []}

    def entries(self) -> list[m.FrontierEntry]:
        return [at(len(log), log_id) for log_id, log in self.logs.items() if log]

    def write(self, log_id: LogId, count: int) -> None:
        log = self.logs[log_id]
        for _ in range(count):
            size_bytes = self.rng.choice([10, 300_000])
            log.append(log_id[:1] + len(log).to_bytes(4) + bytes(size_bytes))
        self.session.update_frontier(FOLDER, [at(len(log), log_id)])

    def answer(self, event: e.Event) -> None:
        if isinstance(event, e.FolderShared):
            self.session.share(FOLDER, self.entries())
        elif isinstance(event, e.ChangesetsNeeded):
            budget = event.budget_bytes
            for log_id, after_seq in event.logs:
                count = self.rng.randrange(1, 30)
                run = self.logs[log_id][after_seq : after_seq + count]
                run = run if sum(map(len, run)) <= budget else run[:1]
                self.session.offer_changesets(FOLDER, log_id, after_seq + 1, run)
        elif isinstance(event, e.ChangesetsReceived):
            for changeset in event.changesets:
                log = self.logs[LOG if changeset[:1] == LOG[:1] else OTHER_LOG]
                seq = int.from_bytes(changeset[1:5])
                if seq == len(log):
                    log.append(changeset)
            self.session.update_frontier(FOLDER, self.entries(), batch=event.batch)


@pytest.mark.parametrize("seed", range(8))
def test_two_owners_converge_within_the_window(seed: int) -> None:
    rng = random.Random(seed)
    pair = SessionPair().open()
    left, right = Owner(pair.left, rng), Owner(pair.right, rng)
    left.session.share(FOLDER, [])
    unanswered_bytes: dict[Session, int] = {pair.left: 0, pair.right: 0}

    def run_until_quiet() -> None:
        for _ in range(1000):
            for owner in (left, right):
                for event in pair.take(owner.session):
                    if isinstance(event, e.ChangesetsReceived):
                        unanswered_bytes[owner.session] += sum(map(len, event.changesets))
                    owner.answer(event)
            assert max(unanswered_bytes.values()) <= UNANSWERED_BYTES_MAX + 300_005
            unanswered_bytes.update(dict.fromkeys(unanswered_bytes, 0))
            if not pair.roundtrip():
                return
        raise AssertionError("no end of it")

    for _ in range(4):
        left.write(LOG, rng.randrange(20))
        right.write(OTHER_LOG, rng.randrange(20))
        if rng.random() < 0.5:
            run_until_quiet()
    run_until_quiet()
    assert left.logs == right.logs
    assert left.entries() == right.entries()
    assert left.logs[LOG] or left.logs[OTHER_LOG]


def test_chunks_may_overtake_each_other_and_all_else() -> None:
    pair = SessionPair().open()
    pair.left.share(FOLDER, [])
    pair.right.share(FOLDER, [])
    pair.roundtrip()
    request = pair.left.want(FOLDER, IDS)
    pair.roundtrip()
    for index in (0, 1, 2):
        pair.right.update_frontier(FOLDER, [at(index)])
        pair.right.give(request, [Piece(index, 0, 1, b"x")])
    pair.reorder_bulk(pair.right)
    pair.transfer(pair.right)
    chunks = [event.chunks[0].chunk_id for event in pair.take(pair.left, e.ChunksReceived)]
    assert chunks == list(IDS[::-1])
    assert pair.left.state is SessionState.OPEN


def test_a_broken_link_is_noticed_by_silence() -> None:
    pair = SessionPair().open()
    pair.advance(20)
    assert pair.drop(pair.left)
    assert pair.drop(pair.right)
    pair.advance(39.9)
    assert not any(isinstance(event, e.Closed) for event in pair.events[pair.left])
    pair.advance(0.1)
    closed: list[Any] = pair.take(pair.left, e.Closed)
    assert [event.code for event in closed] == [ErrorCode.TIMEOUT]


def test_pings_keep_two_quiet_sessions_open() -> None:
    pair = SessionPair().open()
    for _ in range(30):
        pair.advance(10)
        pair.roundtrip_until_quiet()
    assert pair.left.state is pair.right.state is SessionState.OPEN
    assert pair.left.round_trip_s == 0.0
