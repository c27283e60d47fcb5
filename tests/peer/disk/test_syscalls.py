import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from peer.disk import syscalls

pytestmark = pytest.mark.usefixtures("root_fd")


@pytest.fixture
def root_fd(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY)


@pytest.fixture(autouse=True)
def _close(root_fd: int) -> object:
    yield
    os.close(root_fd)


def test_openat2_goes_through_no_symlink_and_never_above(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    fd = syscalls.open_directory_beneath(root_fd, b"a/b")
    assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / "a" / "b"))
    os.close(fd)
    for path, number in ((b"link", errno.ENOTDIR), (b"link/b", errno.ELOOP), (b"..", errno.EXDEV)):
        with pytest.raises(OSError, match=os.strerror(number)):
            syscalls.open_directory_beneath(root_fd, path)
    with pytest.raises(FileNotFoundError):
        syscalls.open_directory_beneath(root_fd, b"none")


def test_noreplace_replaces_nothing(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        syscalls.rename_noreplace(root_fd, "a", root_fd, "b")
    syscalls.rename_noreplace(root_fd, "a", root_fd, "c")
    assert (tmp_path / "b").read_text() + (tmp_path / "c").read_text() == "ba"


def test_exchange_swaps(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    syscalls.rename_exchange(root_fd, "a", root_fd, "b")
    assert (tmp_path / "a").read_text() + (tmp_path / "b").read_text() == "ba"
    with pytest.raises(FileNotFoundError):
        syscalls.rename_exchange(root_fd, "a", root_fd, "none")


def test_a_rename_keeps_names_that_are_not_utf_8(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "a").write_text("a")
    name = os.fsdecode(b"\xff")
    syscalls.rename_noreplace(root_fd, "a", root_fd, name)
    assert os.listdir(tmp_path) == [name]


def test_syncfs_and_writeback(tmp_path: Path, root_fd: int) -> None:
    syscalls.syncfs(root_fd)
    with pytest.raises(OSError, match="Bad file"):
        syscalls.syncfs(-1)
    with (tmp_path / "f").open("wb") as file:
        file.write(b"x" * 10_000)
        syscalls.start_writeback(file.fileno(), 0, 10_000)
        syscalls.write_back(file.fileno(), 0, 10_000)
    with pytest.raises(OSError, match="Bad file"):
        syscalls.write_back(-1, 0, 1)


def test_inotify_gives_one_number_for_one_inode(tmp_path: Path) -> None:
    queue = syscalls.inotify_init()
    try:
        number = syscalls.inotify_add_watch(queue, str(tmp_path), 0x100)
        assert number == syscalls.inotify_add_watch(queue, str(tmp_path / "."), 0x100)
        with pytest.raises(FileNotFoundError):
            syscalls.inotify_add_watch(queue, str(tmp_path / "none"), 0x100)
        with pytest.raises(BlockingIOError):
            os.read(queue, 4_096)
        syscalls.inotify_rm_watch(queue, number)
        syscalls.inotify_rm_watch(queue, 999)
    finally:
        os.close(queue)


def test_memory_of_a_chunk_is_not_fetched_from_the_kernel_each_time() -> None:
    """In a process of its own, for it is set for good."""
    program = (
        "import resource, sys\n"
        "from peer.disk import syscalls\n"
        "sys.argv[1] == 'keep' and syscalls.keep_freed_memory(16 << 20)\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def use():\n"
        "    for _ in range(200):\n"
        "        buffers = [bytearray(500_000) for _ in range(4)]\n"
        "use(); before = faults(); use(); print(faults() - before)\n"
    )
    counts = {}
    for how in ("keep", "give back"):
        command = [sys.executable, "-c", program, how]
        counts[how] = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert counts["keep"] < 1000
    assert counts["give back"] > 10 * counts["keep"]
