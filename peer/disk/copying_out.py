"""Copies a staged file out of its folder, to a path that a person named."""

from __future__ import annotations

import os
from typing import Final

from peer.core.disk_types import Disk, Path, RangeRequest
from peer.core.versions import Version

PIECE_BYTES: Final = 4 << 20


def copy_out(disk: Disk, source: Path, version: Version, out: str) -> str:
    """Makes the file or symlink, where nothing is; returns why not, or nothing. Blocking."""
    try:
        if version.is_symlink:
            os.symlink(version.manifest.decode(), out)
            return ""
        mode = 0o777 if version.is_executable else 0o666  # less what the umask takes
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:
        return "There is something there already. Choose another path."
    except OSError as error:
        return f"It cannot be written there: {error.strerror}."
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            for offset in range(0, version.size, PIECE_BYTES):
                length = min(PIECE_BYTES, version.size - offset)
                (data,) = disk.read_ranges([RangeRequest(source, offset, length)])
                if data is None:
                    raise OSError(0, "its bytes cannot be read back")
                file.write(data)
            os.fsync(file.fileno())
            os.utime(file.fileno(), ns=(version.mtime_ns, version.mtime_ns))
    except OSError as error:
        os.unlink(out)
        return f"It cannot be written there: {error.strerror}."
    return ""
