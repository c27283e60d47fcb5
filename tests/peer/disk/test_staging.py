import errno
import os
import stat as status
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.core.disk_types import DiskError, DiskFull, Kind, Publish, StageFile, Stat, Trouble
from peer.disk import syscalls
from peer.disk.disk import PosixDisk
from tests.peer.core.test_chunker import pseudo_random
from tests.peer.real_disk import HASHER, contents, is_problem, is_refusal, open_disk, stage


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PosixDisk]:
    disk = open_disk(tmp_path / "root")
    yield disk
    disk.close()


@pytest.fixture
def incoming(disk: PosixDisk, tmp_path: Path) -> Path:
    return tmp_path / "root" / ".holdfast" / "incoming"


def fail_with(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_files_lie_as_they_will_be_seen(disk: PosixDisk, incoming: Path) -> None:
    old_mask = os.umask(0o027)
    try:
        plain, program, link = disk.stage(
            [
                StageFile("a", b"data", None, 1_234_567_890_123_456_789, False),
                StageFile("b", b"", None, 0, True),
                StageFile("c", None, "a/target", 10**18, False),
            ]
        )
    finally:
        os.umask(old_mask)
    assert isinstance(plain, Stat)
    assert isinstance(program, Stat)
    assert isinstance(link, Stat)
    assert (plain.size, plain.mtime_ns, plain.executable) == (4, 1_234_567_890_123_456_789, False)
    assert (program.size, program.mtime_ns, program.executable) == (0, 0, True)
    assert (link.kind, link.mtime_ns) == (Kind.SYMLINK, 10**18)
    assert status.S_IMODE((incoming / "a").stat().st_mode) == 0o640
    assert status.S_IMODE((incoming / "b").stat().st_mode) == 0o750
    assert status.S_IMODE(incoming.stat().st_mode) == 0o700
    assert status.S_IMODE(incoming.parent.stat().st_mode) == 0o700


@pytest.mark.row("A35")
def test_a_temp_name_is_taken_over_and_never_followed(
    disk: PosixDisk, incoming: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    (incoming / "a").symlink_to(victim)
    os.link(victim, incoming / "b")
    stage(disk, b"new", "a")
    stage(disk, b"new", "b")
    with disk.open_staged("b", 3) as file:
        file.write(0, b"xyz")
    assert victim.read_text() == "safe"
    os.link(victim, incoming / "c")
    with pytest.raises(DiskError):
        disk.open_staged("c", 3, resume=True)
    with pytest.raises(DiskError):
        disk.stage([StageFile("../out", b"", None, 0, False)])


@pytest.mark.parametrize("mtime_ns", [-(2**62), -1, 2**40 * 10**9, 2**63])
def test_no_time_is_too_strange(disk: PosixDisk, mtime_ns: int) -> None:
    (result,) = disk.stage([StageFile("a", b"", None, mtime_ns, False)])
    assert isinstance(result, Stat)


def test_a_full_disk_leaves_nothing_half_written(
    disk: PosixDisk, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [StageFile("a", b"12345678", None, 0, False), StageFile("b", b"12", None, 0, False)]
    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real_write(fd, data[:3]))
        patch.setattr(os, "pwrite", fail_with(errno.ENOSPC))
        full, small = disk.stage(files)
    assert is_problem(full).trouble is Trouble.NO_SPACE
    assert isinstance(small, Stat)
    assert contents(incoming) == {"b": b"12"}
    disk.sync_staged()


def test_short_writes_are_completed(
    disk: PosixDisk, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, real_pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:3]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_pwrite(fd, data[:2], at))
    stage(disk, b"0123456789", "a")
    assert contents(incoming) == {"a": b"0123456789"}


@pytest.mark.row("F04")
@pytest.mark.parametrize("count", [1, 30])
def test_what_was_not_made_durable_is_never_published(
    disk: PosixDisk, incoming: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """FAULTS F04: one EIO, and the next fsync would succeed with the data gone."""
    names = [f"t{number}" for number in range(count)]
    disk.stage([StageFile(name, b"x", None, 0, False) for name in names])
    large = disk.open_staged("large", 10)
    large.write(0, b"0123456789")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_with(errno.EIO))
        patch.setattr(syscalls, "syncfs", fail_with(errno.EIO))
        with pytest.raises(DiskError, match="Input/output error"):
            disk.sync_staged()
    disk.sync_staged()
    for result in disk.apply([Publish(name, (name,), None) for name in names]):
        is_refusal(result)
    with pytest.raises(DiskError):
        large.write(0, b"1")
    with pytest.raises(DiskError):
        large.finish(0, False)
    large.abandon()
    assert contents(incoming) == {}


def test_publishing_before_the_round_is_our_bug(disk: PosixDisk) -> None:
    disk.stage([StageFile("a", b"x", None, 0, False)])
    with pytest.raises(AssertionError):
        disk.apply([Publish("a", ("a",), None)])


def test_a_large_file_comes_in_any_order(disk: PosixDisk, tmp_path: Path) -> None:
    data = pseudo_random(20 << 20)
    step = 3_000_000
    with disk.open_staged("large", len(data)) as file:
        for offset in reversed(range(0, len(data), step)):
            file.write(offset, memoryview(data)[offset : offset + step])
        assert file.file_hash() == HASHER.chunk_id(data)
        stat = file.finish(10**18, True)
    assert (stat.size, stat.mtime_ns, stat.executable) == (len(data), 10**18, True)
    disk.sync_staged()
    (result,) = disk.apply([Publish("large", ("f",), None)])
    assert isinstance(result, Stat)
    assert (tmp_path / "root" / "f").read_bytes() == data


@pytest.mark.parametrize(
    "acts",
    [
        [(0, b"abc"), (3, b"def")],
        [(0, b"abc"), (3, b"xyz"), (1, b"bcdef")],
        [(0, b"abc"), (3, b"xyz"), "copy"],
        ["copy", (0, b"a")],
        [(3, b"def"), (0, b"abc")],
        [(0, b"abcdef"), "hash", (0, b"xyz"), "hash", (0, b"abc")],
        [(0, b"abc"), "hash", (3, b"def")],
    ],
)
def test_the_hash_is_that_of_what_lies_there_however_it_came(
    disk: PosixDisk, tmp_path: Path, acts: list[str | tuple[int, bytes]]
) -> None:
    (tmp_path / "root" / "old").write_bytes(b"?bcdef")
    with disk.open_staged("large", 6) as file:
        for act in acts:
            if act == "copy":
                assert file.copy_range(("old",), 1, 1, 5)
            elif isinstance(act, str):
                file.file_hash()
            else:
                file.write(*act)
        assert file.file_hash() == HASHER.chunk_id(b"abcdef")


@pytest.mark.parametrize("is_in_kernel", [True, False])
def test_ranges_are_copied_as_far_as_they_are_there(
    disk: PosixDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_kernel: bool
) -> None:
    monkeypatch.setattr(syscalls, "HAS_COPY_FILE_RANGE", is_in_kernel)
    (tmp_path / "root" / "old").write_bytes(b"abcdef")
    with disk.open_staged("large", 6) as file:
        assert file.copy_range(("old",), 2, 1, 3)
        assert file.chunk_id(1, 3) == HASHER.chunk_id(b"cde")
        assert file.file_hash() == HASHER.chunk_id(b"\0cde\0\0")
        assert not file.copy_range(("old",), 5, 1, 3)
        assert not file.copy_range(("none",), 2, 1, 3)


def test_a_disk_that_cannot_copy_by_itself_is_copied_on(
    disk: PosixDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(syscalls, "copy_file_range", refuse)
    data = pseudo_random(11 << 20)
    (tmp_path / "root" / "old").write_bytes(data)
    with disk.open_staged("large", len(data)) as file:
        assert file.copy_range(("old",), 0, 0, len(data))
        assert file.file_hash() == HASHER.chunk_id(data)


def test_a_copy_that_finds_no_space_says_so(
    disk: PosixDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(syscalls, "copy_file_range", fill)
    (tmp_path / "root" / "old").write_bytes(b"abc")
    with disk.open_staged("large", 3) as file, pytest.raises(DiskFull):
        file.copy_range(("old",), 0, 0, 3)


ZEROS = bytes(1 << 20)


def test_holes_stay_holes(disk: PosixDisk, incoming: Path) -> None:
    """What was sparse there takes no room here."""
    with disk.open_staged("large", 16 << 20) as file:
        for number in range(16):
            file.write(number << 20, b"x" + ZEROS[1:] if number == 3 else ZEROS)
        file.finish(7, executable=False)
    data = (incoming / "large").read_bytes()
    assert data == bytes(3 << 20) + b"x" + bytes((13 << 20) - 1)
    assert (incoming / "large").stat().st_blocks * 512 <= 2 << 20


def test_zeros_are_written_over_what_may_not_be_zeros(
    disk: PosixDisk, tmp_path: Path, incoming: Path
) -> None:
    (tmp_path / "root" / "source").write_bytes(b"12")
    with disk.open_staged("large", 4) as file:
        assert file.copy_range(("source",), 0, 0, 2)
        file.write(0, bytes(2))
        file.write(2, b"34")
        file.pause()
    with disk.open_staged("large", 4, resume=True) as file:
        file.write(3, b"\0")
        file.finish(7, executable=False)
    assert (incoming / "large").read_bytes() == b"\0\x003\0"


def test_a_large_file_is_left_and_resumed(disk: PosixDisk, incoming: Path) -> None:
    file = disk.open_staged("large", 4)
    file.write(0, b"ab")
    file.pause()
    file.abandon()
    assert disk.staged_names() == ["large"]
    with disk.open_staged("large", 4, resume=True) as file:
        file.write(2, b"cd")
        assert file.file_hash() == HASHER.chunk_id(b"abcd")
    assert disk.staged_names() == []
    with disk.open_staged("large", 4, resume=True) as file:
        assert file.file_hash() == HASHER.chunk_id(bytes(4))
        file.pause()
    disk.discard_staged(["large", "none"])
    assert contents(incoming) == {}


def test_a_full_disk_under_a_large_file(disk: PosixDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    with disk.open_staged("large", 10) as file:
        monkeypatch.setattr(os, "pwrite", fail_with(errno.ENOSPC))
        with pytest.raises(DiskFull):
            file.write(0, b"x")


def test_the_disk_is_held_only_while_something_is_unsynced(disk: PosixDisk) -> None:
    before = len(os.listdir("/proc/self/fd"))
    disk.stage([StageFile("a", b"x", None, 0, False)])
    assert len(os.listdir("/proc/self/fd")) == before + 1
    disk.sync_staged()
    assert len(os.listdir("/proc/self/fd")) == before
    file = disk.open_staged("large", 10)
    file.finish(0, False)
    disk.sync_staged()
    assert len(os.listdir("/proc/self/fd")) == before
