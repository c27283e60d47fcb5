"""How fast a real folder is listed, hashed and written: `python -m tests.bench.bench_disk [DIR]`.

Prints the median of some runs beside the target. Files are made in DIR, by default the system's
temporary directory; its file system decides much of what is measured. ext4 without a journal, for
one, makes new files slowly for some seconds after many were deleted.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from crypto.chunks import ChunkHasher
from crypto.ids import FolderId
from peer.core.chunker import Chunker
from peer.core.disk_types import FileRead, MakeDirectory, Publish, ReadRequest, StageFile, Stat
from peer.disk.disk import PosixDisk
from peer.disk.ignore import IgnoreRules
from peer.disk.scanner import scan

RUNS = 5
SMALL_BYTES = 1_024
BATCH = 1_000


def median_s(work: Callable[[], object], runs: int = RUNS) -> float:
    """The median time of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def report(what: str, value: float, unit: str, target: str) -> None:
    """Prints one line."""
    print(f"{what:<46}{value:>10,.2f} {unit:<10} target {target}", flush=True)


def bench_listing(disk: PosixDisk, root: Path, count: int) -> None:
    """Scans a tree of `count` empty files, 100 to a directory."""
    for number in range(count // 100):
        directory = root / "many" / f"d{number // 100}" / f"e{number}"
        directory.mkdir(parents=True)
        for name in range(100):
            (directory / f"file-{name}.txt").touch()

    def work() -> None:
        found = sum(
            len(listing.entries or ())
            for listings in scan(disk, IgnoreRules(), [("many",)])
            for listing in listings
        )
        assert found > count

    report(f"list {count:,} files", median_s(work), "s", "< 1")


def bench_publishing(disk: PosixDisk, count: int) -> list[tuple[str, ...]]:
    """Stages, syncs and publishes small files, and gives their paths."""
    paths: list[tuple[str, ...]] = []
    disk.apply([MakeDirectory(("small",))])
    runs = iter(range(RUNS))

    def work() -> None:
        run = next(runs)
        for start in range(0, count, BATCH):
            directory = ("small", f"{run}-{start}")
            names = [f"{number}" for number in range(start, min(start + BATCH, count))]
            disk.apply([MakeDirectory(directory)])
            disk.stage(
                [StageFile(name, os.urandom(SMALL_BYTES), None, 10**18, False) for name in names]
            )
            disk.sync_staged()
            results = disk.apply([Publish(name, (*directory, name), None) for name in names])
            assert all(isinstance(result, Stat) for result in results)
            disk.sync_directories([directory])
            paths.extend((*directory, name) for name in names)

    report(f"stage, sync, publish {count:,} files", count / median_s(work), "files/s", ">= 12,000")
    return paths[:count]


def bench_hashing(disk: PosixDisk, paths: list[tuple[str, ...]]) -> None:
    """Reads and hashes small files."""
    requests = [ReadRequest(path) for path in paths]

    def work() -> None:
        assert all(isinstance(result, FileRead) for result in disk.read_files(requests))

    report(f"hash {len(paths):,} small files", len(paths) / median_s(work), "files/s", ">= 15,000")


def bench_large(disk: PosixDisk, root: Path, size: int) -> None:
    """Chunks and hashes one large file, and writes one."""
    with (root / "large").open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    os.sync()

    def read() -> None:
        (result,) = disk.read_files([ReadRequest(("large",))])
        assert isinstance(result, FileRead)

    def write() -> None:
        with disk.open_staged("large", size) as staged:
            for offset in range(0, size, len(block)):
                staged.write(offset, block)
            staged.finish(10**18, False)
        disk.sync_staged()

    block = os.urandom(256 << 10)
    report(f"chunk and hash {size >> 20} MiB", size / median_s(read) / 1e9, "GB/s", ">= 1")
    report(
        f"write and sync {size >> 20} MiB", size / median_s(write, 3) / 1e6, "MB/s", "the disk's"
    )


def main() -> int:
    """Runs all of them in a fresh directory and removes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", nargs="?", default=tempfile.gettempdir())
    parser.add_argument(
        "--scale", type=float, default=1.0, help="a part of the work, 0.1 for a look"
    )
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=options.dir))
    disk = PosixDisk(str(root), ChunkHasher(bytes(32)), Chunker(bytes(16)))
    try:
        disk.create_marker(FolderId(bytes(32)))
        paths = bench_publishing(disk, int(10_000 * options.scale))
        bench_hashing(disk, paths)
        bench_listing(disk, root, int(100_000 * options.scale))
        bench_large(disk, root, max(1, int(512 * options.scale)) << 20)
    finally:
        disk.close()
        shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
