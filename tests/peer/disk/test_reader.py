import errno
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.core.chunker import Chunker, chunk_sizes
from peer.core.disk_types import DiskError, FileRead, Kind, RangeRequest, ReadRequest, Trouble
from peer.disk import reader, syscalls
from peer.disk.disk import PosixDisk
from tests.peer.core.test_chunker import pseudo_random
from tests.peer.disk_of_its_own import DiskOfItsOwn
from tests.peer.real_disk import HASHER, SEED, is_problem, open_disk, stat


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PosixDisk]:
    disk = open_disk(tmp_path / "root")
    yield disk
    disk.close()


@pytest.fixture
def root(disk: PosixDisk, tmp_path: Path) -> Path:
    return tmp_path / "root"


def read(disk: PosixDisk, *path: str) -> FileRead:
    (result,) = disk.read_files([ReadRequest(path)])
    assert isinstance(result, FileRead), result
    return result


def test_a_small_file_is_one_chunk_that_has_the_files_name(disk: PosixDisk, root: Path) -> None:
    (root / "f").write_bytes(b"hello")
    file = read(disk, "f")
    assert file.file_hash == HASHER.chunk_id(b"hello")
    assert file.chunks == [(HASHER.chunk_id(b"hello"), 5)]
    assert file.data == b"hello"
    assert file.stat == stat(disk, "f")


def test_an_empty_file_has_no_chunks(disk: PosixDisk, root: Path) -> None:
    (root / "f").touch()
    file = read(disk, "f")
    assert (file.chunks, file.data, file.file_hash) == ([], b"", HASHER.chunk_id(b""))


def test_bytes_are_kept_up_to_64_kib(disk: PosixDisk, root: Path) -> None:
    for size in (65_536, 65_537):
        (root / "f").write_bytes(bytes(size))
        assert (read(disk, "f").data is None) == (size > 65_536)


WINDOW = 2 << 20


@pytest.mark.parametrize(
    "size", [100_000, (1 << 20) + 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 7_654_321]
)
@pytest.mark.parametrize("is_random", [True, False])
def test_windows_do_not_show(disk: PosixDisk, root: Path, size: int, is_random: bool) -> None:
    data = pseudo_random(size) if is_random else bytes(size)
    (root / "f").write_bytes(data)
    file = read(disk, "f")
    lengths = Chunker(SEED).cut(data, chunk_sizes(size))
    expected, start = [], 0
    for length in lengths:
        expected.append((HASHER.chunk_id(data[start : start + length]), length))
        start += length
    assert file.chunks == expected
    assert file.file_hash == HASHER.chunk_id(data)


def test_a_larger_average_of_before_is_kept(disk: PosixDisk, root: Path) -> None:
    data = pseudo_random(12 << 20)
    (root / "f").write_bytes(data)
    (file,) = disk.read_files([ReadRequest(("f",), chunk_average=512 << 10)])
    assert isinstance(file, FileRead)
    assert file.chunk_average == 512 << 10
    assert [length for _, length in file.chunks] == Chunker(SEED).cut(
        data, chunk_sizes(len(data), 512 << 10)
    )
    assert len(file.chunks) < len(read(disk, "f").chunks) / 2


def test_what_changes_while_it_is_read_is_a_problem(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer of another process, at the worst moment: right after the bytes were taken."""
    real_read, real_readv = os.read, os.readv

    def write() -> None:
        with (root / "f").open("r+b") as file:
            file.write(b"X")

    def read_then_write(fd: int, length: int) -> bytes:
        data = real_read(fd, length)
        write()
        return data

    def readv_then_write(fd: int, buffers: list[memoryview]) -> int:
        count = real_readv(fd, buffers)
        write()
        return count

    monkeypatch.setattr(os, "read", read_then_write)
    monkeypatch.setattr(os, "readv", readv_then_write)
    for size in (10, 3 << 20):
        (root / "f").write_bytes(bytes(size))
        (result,) = disk.read_files([ReadRequest(("f",))])
        assert is_problem(result).trouble is Trouble.CHANGING


def test_a_file_that_is_seen_changing_is_read_no_further(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    fill = reader._fill

    def fill_and_append(fd: int, buffer: memoryview) -> int:
        reads.append(len(buffer))
        with (root / "f").open("ab") as file:
            file.write(b"more")
        return fill(fd, buffer)

    monkeypatch.setattr(reader, "_fill", fill_and_append)
    (root / "f").write_bytes(bytes(20 << 20))
    (result,) = disk.read_files([ReadRequest(("f",))])
    assert is_problem(result).trouble is Trouble.CHANGING
    assert len(reads) == 1


def test_a_file_that_grows_for_ever_ends(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(reader, "_fill", lambda fd, buffer: len(buffer))
    (result,) = disk.read_files([ReadRequest(("f",))])
    assert is_problem(result).trouble is Trouble.CHANGING


def test_a_write_within_one_tick_of_the_clock_is_not_missed(disk: PosixDisk, root: Path) -> None:
    """What is read has a ctime that a later write cannot have: it is at least a tick old."""
    for _ in range(3):
        (root / "f").write_bytes(b"1")
        file = read(disk, "f")
        assert time.time_ns() - file.stat.ctime_ns >= 10_000_000


def test_other_than_expected_is_a_problem(disk: PosixDisk, root: Path) -> None:
    (root / "f").write_bytes(b"1")
    expected = stat(disk, "f")
    (result,) = disk.read_files([ReadRequest(("f",), expected)])
    assert isinstance(result, FileRead)
    (root / "f").write_bytes(b"2")
    (result,) = disk.read_files([ReadRequest(("f",), expected._replace(mtime_ns=1))])
    assert is_problem(result).trouble is Trouble.CHANGING


def test_symlinks_are_their_target(disk: PosixDisk, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "s").symlink_to("../täst")
    file = read(disk, "d", "s")
    assert (file.stat.kind, file.data, file.chunks) == (Kind.SYMLINK, "../täst".encode(), [])
    assert file.file_hash == HASHER.chunk_id("../täst".encode())


def test_symlinks_out_of_the_folder_are_named(disk: PosixDisk, root: Path) -> None:
    (root / "out").symlink_to("/etc/passwd")
    (root / "bytes").symlink_to(os.fsdecode(b"\xff"))
    for result in disk.read_files([ReadRequest(("out",)), ReadRequest(("bytes",))]):
        assert is_problem(result).trouble is Trouble.UNSUPPORTED
    free = open_disk(root, may_links_leave=True)
    assert read(free, "out").data == b"/etc/passwd"


@pytest.mark.row("F07")
def test_each_trouble_is_its_own_and_the_rest_is_read(disk: PosixDisk, root: Path) -> None:
    (root / "d").mkdir()
    (root / "link").symlink_to("d")
    (root / "d" / "f").write_bytes(b"1")
    (root / "ok").write_bytes(b"2")
    os.mkfifo(root / "fifo")
    paths = [("none",), ("link", "f"), ("fifo",), ("d",), ("..", "x"), (), ("ok",)]
    results = disk.read_files([ReadRequest(path) for path in paths])
    troubles = [is_problem(result).trouble for result in results[:-1]]
    assert troubles == [
        Trouble.GONE,
        Trouble.GONE,
        Trouble.SPECIAL,
        Trouble.CHANGING,
        Trouble.UNREADABLE,
        Trouble.UNREADABLE,
    ]
    assert isinstance(results[-1], FileRead)


def test_ranges(disk: PosixDisk, root: Path) -> None:
    (root / "a").write_bytes(b"0123456789")
    (root / "b").write_bytes(b"abc")
    (root / "s").symlink_to("a")
    requests = [
        RangeRequest(("a",), 0, 4),
        RangeRequest(("a",), 6, 4),
        RangeRequest(("a",), 7, 4),
        RangeRequest(("b",), 1, 1),
        RangeRequest(("none",), 0, 1),
        RangeRequest(("s",), 0, 1),
        RangeRequest(("b",), 0, 3),
    ]
    before = len(os.listdir("/proc/self/fd"))
    assert disk.read_ranges(requests) == [b"0123", b"6789", None, b"b", None, None, b"abc"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_hashing_thread_ends_with_the_disk(disk: PosixDisk, root: Path) -> None:
    def hashing() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith("holdfast-hash")}

    (root / "f").write_bytes(bytes(2 << 20))
    before = hashing()  # of a disk that another test has left to the collector
    read(disk, "f")
    assert hashing() - before
    disk.close()
    assert not hashing() - before
    read(disk, "f")


@pytest.fixture
def own_disk(tmp_path: Path) -> Iterator[tuple[DiskOfItsOwn, PosixDisk, Path]]:
    """A file system, a disk of Holdfast's in it, and a file there."""
    place = DiskOfItsOwn(tmp_path / "image", tmp_path / "place")
    disk = open_disk(tmp_path / "place" / "root")
    yield place, disk, tmp_path / "place" / "root" / "f"
    disk.close()
    place.remove()


# The first write to a mapped page changes the file's times, and no other before the page was
# written back. Where nothing may be mounted, these two are on a disk that may never write back.


def test_a_write_through_a_mapping_is_seen_once_the_file_was_read(
    own_disk: tuple[DiskOfItsOwn, PosixDisk, Path],
) -> None:
    place, disk, path = own_disk
    path.write_bytes(pseudo_random(5_000))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        os.fsync(file.fileno())
        data[0] ^= 1
        (known,) = disk.stat([("f",)])
        (first,) = disk.read_files([ReadRequest(("f",), known)])
        assert isinstance(first, FileRead), first
        data[0] ^= 2
        assert stat(disk, "f") != first.stat or not place.is_mounted


def test_a_write_through_a_mapping_is_seen_while_a_large_file_is_read(
    own_disk: tuple[DiskOfItsOwn, PosixDisk, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, disk, path = own_disk
    path.write_bytes(pseudo_random(WINDOW + 5_000))
    fill = reader._fill
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        os.fsync(file.fileno())
        data[0] ^= 1

        def fill_and_write(fd: int, buffer: memoryview) -> int:
            monkeypatch.setattr(reader, "_fill", fill)
            filled = fill(fd, buffer)
            data[0] ^= 2
            return filled

        monkeypatch.setattr(reader, "_fill", fill_and_write)
        (result,) = disk.read_files([ReadRequest(("f",))])
        if place.is_mounted:
            assert is_problem(result).trouble is Trouble.CHANGING
        else:
            assert result.path == ("f",)


def test_what_cannot_be_written_back_is_no_file_that_was_read(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_bytes(bytes(WINDOW + 1))

    def fails(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(syscalls, "write_back", fails)
    with pytest.raises(DiskError, match="write back what was saved"):
        disk.read_files([ReadRequest(("f",))])
