"""The process that reads texts out of files: it is given bytes, and gives text, over its pipes.

It never sees a file's path and needs none; before the first byte it gives up network, files to
write, processes to start and most of the memory. Whoever started it ends it when it takes too long.

A request is `>HI`: lengths of name and data, then both; an answer `>BII`: whether it worked,
lengths of text and words, then both.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable
from struct import Struct
from typing import IO, Final

from peer.search.text_formats import text_of, words_of

REQUEST: Final = Struct(">HI")
ANSWER: Final = Struct(">BII")
MEMORY_BYTES_MAX: Final = 1 << 30
"""Address space, of which Python with pypdf takes a fifth: a PDF of 16 MiB unfolds to some tens of
megabytes.
"""
CPU_S_MAX: Final = 15
"""For one file; a thousand pages take pypdf some ten seconds."""
FILES_MAX: Final = 32
"""Open at once: modules that are imported when they are needed."""
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000


def give_up_rights() -> None:
    """From here on this process can compute and answer, and little else."""
    for name, limit in (
        ("RLIMIT_AS", MEMORY_BYTES_MAX),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", FILES_MAX),
        ("RLIMIT_NPROC", 0),
    ):
        if hasattr(resource, name):
            number = getattr(resource, name)
            _, hard = resource.getrlimit(number)
            limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(number, (limit, hard if name == "RLIMIT_NPROC" else limit))
    os.nice(10)
    if sys.platform == "linux":
        # A network without interfaces. Where the system does not allow it, the limits stand alone.
        ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def allow_time() -> None:
    """So much processor time from now on, and then the system ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + CPU_S_MAX, hard))


def answer(name: str, data: bytes) -> tuple[bool, bytes, bytes]:
    """Whether the text could be read, the text, and its words."""
    try:
        text = text_of(name, data)
    except MemoryError:
        raise  # nothing in here is to be relied on any more
    except Exception:  # noqa: BLE001 - a door: whatever a broken file does, it is that file's
        return False, b"", b""
    text = text.encode(errors="replace").decode()
    return True, text.encode(), "\n".join(sorted(words_of(text))).encode()


def serve(requests: IO[bytes], answers: IO[bytes], before_each: Callable[[], None]) -> None:
    """Answers until nobody asks."""
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        name_length, length = REQUEST.unpack(head)
        name = requests.read(name_length).decode()
        before_each()
        worked, text, words = answer(name, requests.read(length))
        answers.write(ANSWER.pack(worked, len(text), len(words)) + text + words)
        answers.flush()


if __name__ == "__main__":
    give_up_rights()
    serve(sys.stdin.buffer, sys.stdout.buffer, allow_time)
