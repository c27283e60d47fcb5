"""A real folder in a temporary directory, for the tests of what works on one."""

from pathlib import Path as SystemPath

from crypto.chunks import ChunkHasher
from crypto.ids import FolderId
from peer.core.chunker import Chunker
from peer.core.disk_types import Path, Problem, Publish, Refusal, StageFile, Stat
from peer.disk.disk import PosixDisk

FOLDER = FolderId(bytes(range(32)))
HASHER = ChunkHasher(b"k" * 32)
SEED = b"a seed of 16 byt"


def open_disk(root: SystemPath, *, may_links_leave: bool = False) -> PosixDisk:
    root.mkdir(exist_ok=True)
    disk = PosixDisk(str(root), HASHER, Chunker(SEED), may_links_leave=may_links_leave)
    disk.create_marker(FOLDER)
    return disk


def stage(
    disk: PosixDisk, data: bytes, temp_name: str = "temp", *, executable: bool = False
) -> str:
    (result,) = disk.stage([StageFile(temp_name, data, None, 10**18, executable)])
    assert isinstance(result, Stat)
    disk.sync_staged()
    return temp_name


def stat(disk: PosixDisk, *path: str) -> Stat:
    (result,) = disk.stat([path])
    assert result is not None
    return result


def publish(
    disk: PosixDisk,
    data: bytes,
    target: Path,
    expected: Stat | None = None,
    keep: str | None = None,
) -> Stat | Refusal:
    (result,) = disk.apply([Publish(stage(disk, data), target, expected, keep=keep)])
    return result


def contents(root: SystemPath) -> dict[str, bytes]:
    """Every file below a directory, ours included, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def is_problem(result: object) -> Problem:
    assert isinstance(result, Problem), result
    return result


def is_refusal(result: object) -> Refusal:
    assert isinstance(result, Refusal), result
    return result
