"""How fast the core's pieces are, one at a time: `python -m tests.bench.bench_core [FILES]`.

Two devices in one process take a tree of small files through every step of a first sync, with real
indexes and a real disk below the temporary directory and no link between them: the sum is what a
sync costs before any network. Then the pieces that need no disk: plans and frames. Each line is one
run; repeat it for a median.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from crypto.ids import ChunkId, FolderId, NodeId
from peer.collector import spare_rows
from peer.core.disk_types import StageFile
from peer.core.engine import FIRST_PAGE, Need
from peer.core.observation import Entry
from peer.core.planner import FileChange, Planner
from protocol.chunk_frames import Piece
from protocol.events import ChunksReceived, ChunksWanted
from protocol.nodes import ROOT
from tests.peer.folder_stage import HASHER, FolderDevice, two_places
from tests.protocol.pair import SessionPair

READ_AT_ONCE = 500
APPLY_AT_ONCE = 1_000
PER_DIRECTORY = 100
CHUNK_BYTES = 512 << 10
CHUNKS = 400
FOLDER = FolderId(b"f" * 32)


def report(what: str, count: float, seconds: float, cpu_s: float, unit: str) -> None:
    """Prints one line; the processor's time is what a busy machine changes least."""
    rate, cost_us = count / seconds, cpu_s / count * 1e6
    print(
        f"{what:<40}{rate:>12,.0f} {unit}/s{seconds:>9.3f} s{cost_us:>9.1f} us of processor each",
        flush=True,
    )


@contextmanager
def timed(what: str, count: float, unit: str) -> Iterator[None]:
    """Reports how long the block took."""
    start, cpu_start = time.perf_counter(), time.process_time()
    yield
    report(what, count, time.perf_counter() - start, time.process_time() - cpu_start, unit)


def ignores_nothing(path: tuple[str, ...], is_directory: bool) -> bool:
    """No file is ignored."""
    return False


def make_files(root: Path, count: int) -> dict[bytes, bytes]:
    """Files of 0.2 to 12 KB, a hundred to a directory; returns their bytes by hash."""
    random = Random(1)
    found = {}
    for number in range(count):
        directory = root / f"d{number // PER_DIRECTORY:04}"
        if not number % PER_DIRECTORY:
            directory.mkdir(parents=True)
        data = random.randbytes(random.randint(200, 12_000))
        (directory / f"file-{number:06}.txt").write_bytes(data)
        found[bytes(HASHER.chunk_id(data))] = data
    return found


class Receiver:
    """The device that lacks everything."""

    def __init__(self, device: FolderDevice, data: dict[bytes, bytes]) -> None:
        self.device, self.data = device, data
        self.staged: dict[tuple[NodeId, bytes], str] = {}
        self.seconds: defaultdict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    @contextmanager
    def counted(self, step: str) -> Iterator[None]:
        """Adds the block's time to a step's."""
        start, cpu_start = time.perf_counter(), time.process_time()
        yield
        seconds, cpu_s = self.seconds[step]
        cpu_s += time.process_time() - cpu_start
        self.seconds[step] = (seconds + time.perf_counter() - start, cpu_s)

    async def bring(self) -> None:
        """Surveys, stages and applies page by page, until the disk shows everything."""
        device = self.device
        page: tuple[int, NodeId] | None = FIRST_PAGE
        while page is not None:
            with self.counted("survey"):
                survey = await device.performer.drive(
                    device.engine.survey(page, APPLY_AT_ONCE, self.staged)
                )
            page = survey.next_page
            with self.counted("stage"):
                self.stage(survey.needs)
            with self.counted("survey"):
                nodes = [need.node for need in survey.needs]
                ripe = await device.performer.drive(device.engine.survey_nodes(nodes, self.staged))
            ready = survey.ready | ripe.ready
            with self.counted("apply"):
                if ready:
                    await device.performer.drive(device.engine.apply(ready, self.staged))

    def stage(self, needs: Sequence[Need]) -> None:
        """Lays the bytes down under temporary names."""
        files = []
        for need in needs:
            name = need.node.hex()
            self.staged[need.node, need.content.hash] = name
            data = self.data[need.content.hash]
            files.append(StageFile(name, data, None, need.content.mtime_ns, False))
        if files:
            self.device.disk.stage(files)


def in_parts(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    """Runs of at most so many."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


async def bench_first_sync(base: Path, count: int) -> None:
    """Scan, read and author on one device; take in, survey, stage and apply on the other."""
    places = two_places()
    one = await FolderDevice.open(base, "one", places[0])
    two = await FolderDevice.open(base, "two", places[1])
    receiver = Receiver(two, make_files(one.root, count))
    drive = one.performer.drive
    with timed("scan a folder for the first time", count, "files"):
        scanned = await drive(one.engine.scan([ROOT], True, ignores_nothing, time.time_ns()))
    one.note(scanned.authored)
    with timed("read, hash, record, sign, commit", count, "files"):
        for entries in in_parts(scanned.to_read, READ_AT_ONCE):
            one.note((await drive(one.engine.read_back(entries, time.time_ns()))).authored)
    with timed("take in changesets", count, "files"):
        for wire in one.authored:
            await two.ingest([wire])
    await receiver.bring()
    for step, (seconds, cpu_s) in receiver.seconds.items():
        report(step, count, seconds, cpu_s, "files")
    with timed("scan again, nothing changed", count, "files"):
        again = await drive(one.engine.scan([ROOT], True, ignores_nothing, time.time_ns()))
    assert not again.authored
    assert one.tree() == two.tree()
    for device in (one, two):
        await device.close()


def bench_planner(count: int) -> None:
    """A plan that publishes many new files into one directory."""
    changes = [
        FileChange(NodeId(n.to_bytes(15) + b"\0"), None, (ROOT, f"file-{n}"), None, f"t{n}")
        for n in range(count)
    ]
    with timed("plan new files", count, "files"):
        steps = Planner([], changes, lambda item: None, lambda item: None).plan()
    assert len(steps) == count


def bench_session() -> None:
    """Chunks from one session to another, both ends in one thread, without a link."""
    pair = SessionPair()
    for session in (pair.left, pair.right):
        session.share(FOLDER, [])
    pair.roundtrip_until_quiet()
    ids = [ChunkId(n.to_bytes(32)) for n in range(CHUNKS)]
    data = bytes(CHUNK_BYTES)
    received = 0
    with timed("chunks through two sessions", CHUNKS * CHUNK_BYTES / (1 << 20), "MiB"):
        pair.right.want(FOLDER, ids)
        pair.transfer(pair.right)
        (wanted,) = [e for e in pair.events[pair.left] if isinstance(e, ChunksWanted)]
        for index in range(CHUNKS):
            pair.left.give(wanted.request, [Piece(index, 0, CHUNK_BYTES, data)])
            for number, parts, _ in pair.left.frames_to_send():
                pair.right.receive(number, b"".join(parts), pair.now)
            while (event := pair.right.next_event()) is not None:
                received += len(event.chunks) if isinstance(event, ChunksReceived) else 0
    assert received == CHUNKS


def main() -> None:
    """Runs all of it, with the cycle collector as the daemon has it."""
    spare_rows()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="?", type=int, default=10_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as base:
        asyncio.run(bench_first_sync(Path(base), count))
    bench_planner(count)
    bench_session()


if __name__ == "__main__":
    main()
