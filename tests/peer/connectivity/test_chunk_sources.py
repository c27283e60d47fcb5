"""Who is no device is asked for chunks like one, and believed as little."""

from __future__ import annotations

from collections.abc import Sequence

from crypto.ids import ChunkId, DeviceId, FolderId
from peer.connectivity.chunk_sources import ChunkSources
from protocol.events import ReceivedChunk
from protocol.transfers import Ask, FileUnavailable, Transfers

SOURCE, FOLDER = DeviceId(b"s" * 32), FolderId(b"f" * 32)
ONE, TWO = ChunkId(b"1" * 32), ChunkId(b"2" * 32)


class Folder:
    """As much of one as sources see; it finds the chunk ONE good, and no other."""

    fetcher = "there"

    def __init__(self) -> None:
        self.asked_again = self.woken = 0

    def ask_again(self) -> None:
        self.asked_again += 1

    def wake(self) -> None:
        self.woken += 1

    async def receive_chunks(
        self, chunks: Sequence[ReceivedChunk]
    ) -> tuple[list[ChunkId], list[ChunkId]]:
        good = [chunk.chunk_id for chunk in chunks if chunk.chunk_id == ONE]
        return good, [chunk.chunk_id for chunk in chunks if chunk.chunk_id != ONE]


class Source:
    def __init__(self) -> None:
        self.asked: list[tuple[FolderId, tuple[ChunkId, ...]]] = []

    def ask(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
        self.asked.append((folder_id, tuple(chunk_ids)))


class Stage:
    def __init__(self) -> None:
        self.transfers, self.folder, self.source = Transfers(), Folder(), Source()
        self.counts: dict[str, int] = {}
        folders = {FOLDER: self.folder}
        self.sources = ChunkSources(self.transfers, folders, self.counts, self.drive)  # type: ignore[arg-type]

    def drive(self) -> None:
        for command in self.transfers.handle_timer(0.0):
            if isinstance(command, Ask):
                self.sources.ask(command.peer, command.folder_id, command.chunk_ids)


def chunk(chunk_id: ChunkId) -> ReceivedChunk:
    return ReceivedChunk(chunk_id, 0, 1, b"x")


async def test_it_is_asked_and_what_it_lacks_is_with_nobody() -> None:
    stage = Stage()
    stage.transfers.need(FOLDER, [("a", [(ONE, 1)]), ("b", [(TWO, 1)])])
    stage.sources.add(SOURCE, FOLDER, stage.source)
    assert stage.folder.asked_again == 1
    assert stage.source.asked == [(FOLDER, (ONE, TWO))]
    await stage.sources.answered(SOURCE, FOLDER, [ONE, TWO], [chunk(ONE)])
    ended = {type(event): event.key for event in stage.transfers.take_events()}
    assert ended[FileUnavailable] == "b"
    assert len(ended) == 2
    assert stage.folder.woken == 1


async def test_a_wrong_chunk_is_counted_and_as_good_as_none() -> None:
    stage = Stage()
    stage.transfers.need(FOLDER, [("b", [(TWO, 1)])])
    stage.sources.add(SOURCE, FOLDER, stage.source)
    await stage.sources.answered(SOURCE, FOLDER, [TWO], [chunk(TWO)])
    assert stage.counts == {"WrongChunk": 1}
    (event,) = stage.transfers.take_events()
    assert isinstance(event, FileUnavailable)


async def test_who_has_left_is_not_asked() -> None:
    stage = Stage()
    stage.sources.add(SOURCE, FOLDER, stage.source)
    stage.sources.remove(SOURCE)
    stage.sources.remove(SOURCE)
    stage.transfers.need(FOLDER, [("a", [(ONE, 1)])])
    stage.drive()
    stage.sources.ask(SOURCE, FOLDER, [ONE])
    assert stage.source.asked == []
    await stage.sources.answered(SOURCE, FolderId(b"o" * 32), [ONE], [chunk(ONE)])
