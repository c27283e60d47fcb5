import os
from collections.abc import Sequence
from pathlib import Path as SystemPath

import pytest

from peer.core.disk_types import Path
from peer.disk.disk import PosixDisk
from peer.disk.ignore import IgnoreRules
from peer.disk.scanner import scan
from tests.peer.real_disk import open_disk


@pytest.fixture
def disk(tmp_path: SystemPath) -> PosixDisk:
    root = tmp_path / "root"
    for number in range(300):
        directory = root / f"d{number % 7}" / f"e{number}"
        directory.mkdir(parents=True)
        (directory / "f").touch()
    (root / "d0" / "build" / "deep").mkdir(parents=True)
    (root / "d0" / ".f.swp").touch()
    os.mkfifo(root / "d0" / "build.fifo")
    return open_disk(root)


def test_every_directory_once_parents_first_in_batches(disk: PosixDisk) -> None:
    known: set[Path] = {()}
    batches = 0
    files = 0
    for listings in scan(disk, IgnoreRules()):
        batches += 1
        for listing in listings:
            assert listing.path in known
            known.remove(listing.path)
            assert listing.entries is not None
            known |= {(*listing.path, name) for name, stat in listing.entries if stat.kind == 1}
            files += sum(stat.kind == 0 for _, stat in listing.entries)
    assert known == set()
    assert files == 300
    assert 2 < batches < 12


def test_ignored_things_are_neither_shown_nor_entered(disk: PosixDisk) -> None:
    def found(rules: IgnoreRules) -> set[str]:
        return {
            "/".join((*listing.path, name))
            for listings in scan(disk, rules, [("d0",)])
            for listing in listings
            for name, _ in listing.entries or ()
        }

    everything = found(IgnoreRules())
    assert {"d0/build", "d0/build/deep", "d0/e0/f"} <= everything
    assert "d0/.f.swp" not in everything
    assert found(IgnoreRules(["build"])) == everything - {"d0/build", "d0/build/deep"}
    assert list(scan(disk, IgnoreRules(["d0/"]), [("d0",)])) == []


def test_problems_with_ignored_things_are_none(disk: PosixDisk) -> None:
    ((listing,),) = scan(disk, IgnoreRules(), [("d0",)], is_recursive=False)
    assert [problem.path for problem in listing.problems] == [("d0", "build.fifo")]
    ((listing,),) = scan(disk, IgnoreRules(["*.fifo"]), [("d0",)], is_recursive=False)
    assert listing.problems == []


def test_directories_are_watched_before_they_are_listed(disk: PosixDisk) -> None:
    told: list[Path] = []

    def tell(paths: Sequence[Path]) -> None:
        told.extend(paths)

    for listings in scan(disk, IgnoreRules(), before_listing=tell):
        assert told[-len(listings) :] == [listing.path for listing in listings]


def test_a_missing_directory_is_said_to_be_missing(disk: PosixDisk) -> None:
    ((listing,),) = scan(disk, IgnoreRules(), [("none",)])
    assert (listing.path, listing.entries) == (("none",), None)
