"""Large folders and files in small form (F34-F36); `tests/bench/bench_big.py` is the large one."""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from peer.core import observation
from protocol.nodes import ROOT
from tests.peer.evil_stage import bounded_memory
from tests.peer.folder_stage import FolderDevice, two_places

Pair = tuple[FolderDevice, FolderDevice]


LEVELS = 300
"""Of directories within each other."""
CALLS_MAX = 150
"""Within each other, that Holdfast may need for so many levels."""


@contextlib.contextmanager
def few_calls_deep() -> Iterator[None]:
    """Who goes down a tree by calling itself for each level does not come to the bottom of it: as
    Python's own limit would have it at a thousand levels, which take as much longer to make.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + CALLS_MAX)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    places = two_places()
    one = await FolderDevice.open(tmp_path, "one", places[0])
    two = await FolderDevice.open(tmp_path, "two", places[1])
    yield one, two
    await one.close()
    await two.close()


async def take_in(device: FolderDevice) -> int:
    """Scans and reads in the pieces that the engine chooses; how many files were read."""
    pending, count = [ROOT], 0
    while pending:
        scanned = await device.performer.drive(
            device.engine.scan(pending, True, lambda p, d: False, time.time_ns(), None)
        )
        count += len(scanned.to_read)
        for start in range(0, len(scanned.to_read), 100):
            part = scanned.to_read[start : start + 100]
            await device.performer.drive(device.engine.read_back(part, time.time_ns() + 10**9))
        pending = scanned.later
    return count


@pytest.mark.row("F34")
async def test_memory_follows_the_work_and_not_the_folder(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """What each file more takes: a million of them have to stay below 500 MB."""
    monkeypatch.setattr(observation, "ARRIVED_MAX", 500)
    peaks, counts = [], (600, 2_600)
    for device, count in zip(pair, counts, strict=True):
        for number in range(count):
            directory = device.root / str(number // 100)
            directory.mkdir(exist_ok=True)
            (directory / str(number)).touch()
        with bounded_memory(16 << 20) as peak:
            assert await take_in(device) == count
        peaks += peak
    each_bytes = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    assert each_bytes < 500
    with bounded_memory(4 << 20):
        assert await take_in(pair[1]) == 0
    record_property("figure", f"{each_bytes:.0f} bytes of memory a file")


@pytest.mark.row("F35")
async def test_deep_wide_and_long_folders_are_the_same_on_both(pair: Pair) -> None:
    one, two = pair
    deep = one.root / Path(*["d"] * LEVELS)
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"deep")
    (one.root / "wide").mkdir()
    for number in range(1_000):
        (one.root / "wide" / str(number)).touch()
    for character in "nλ名🗂":
        name = (character * 255).encode()[:255].decode(errors="ignore")
        (one.root / name).mkdir()
        (one.root / name / name).write_bytes(name.encode())
    with few_calls_deep():
        await one.scan()
        await two.sync(one)
    assert two.tree() == one.tree()
    assert len(two.tree()) == LEVELS + 1 + 1 + 1_000 + 8


@pytest.mark.row("F36")
async def test_a_large_file_is_read_within_a_window(
    pair: Pair, record_property: Callable[[str, object], None]
) -> None:
    size = 256 << 20
    with (pair[0].root / "sparse").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"a little in the middle")
    with bounded_memory(32 << 20) as peak:
        assert await take_in(pair[0]) == 1
    record_property("figure", f"{peak[0] / 1e6:.1f} MB to read 256 MiB")
