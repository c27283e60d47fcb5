"""A real file system of a test's own, where one may be mounted."""

from __future__ import annotations

import mmap
import os
import subprocess
from pathlib import Path

DISK_BYTES = 420 << 20
"""Room for the 256 MiB that are to stay free, in a file with holes."""


class DiskOfItsOwn:
    """A directory on a file system in one file, so that a bit of it can be flipped below that;
    where none may be mounted an ordinary one, in which nothing but `rot` can.
    """

    def __init__(self, image: Path, place: Path) -> None:
        place.mkdir()
        self._image, self._place = image, place
        image.touch()
        os.truncate(image, DISK_BYTES)
        self.is_mounted = _run("mkfs.ext4", "-q", str(image)) and _run(
            "mount", "-o", "loop", str(image), str(place)
        )
        if self.is_mounted:
            (place / "lost+found").rmdir()

    def flip(self, found_by: bytes) -> None:
        """One bit of these bytes, which are there once, and of which the kernel hears nothing."""
        os.sync()
        with self._image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
            at = data.find(found_by)
            assert at >= 0
            data[at] ^= 1
            data.flush()

    def remove(self) -> None:
        """Takes the disk away."""
        if self.is_mounted:
            _run("umount", "-l", str(self._place))


def _run(*words: str) -> bool:
    try:
        done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    except OSError:  # there is no such program
        return False
    return done.returncode == 0
