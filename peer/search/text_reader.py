"""The handle of the process that reads texts (text_child.py): starts it, asks it, and ends it
when a file takes too long. Blocking; for one thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from typing import Final, NamedTuple

from peer.search.text_child import ANSWER, REQUEST
from peer.search.text_formats import TEXT_LENGTH_MAX

WALL_S_MAX: Final = 30.0
"""For one file, twice its processor time: a busy machine is no reason to give one up."""
ANSWER_BYTES_MAX: Final = 8 * TEXT_LENGTH_MAX
"""Four bytes a character at most, and as much again for its words."""
log = logging.getLogger(__name__)


class TextUnreadable(Exception):
    """This file's text is not to be had; the next one's may be."""


class ReadText(NamedTuple):
    """What a file says."""

    text: str
    words: list[str]
    """Its different words, in small letters."""


class TextReader:
    """One child process, started when it is needed."""

    def __init__(self, wall_s_max: float = WALL_S_MAX) -> None:
        self._wall_s_max = wall_s_max
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._child is None else self._child.pid

    def read(self, name: str, data: bytes) -> ReadText:
        """The text of a file; raises TextUnreadable, and is ready for the next one then."""
        child = self._child or self._start()
        deadline = time.monotonic() + self._wall_s_max
        label = name.encode(errors="replace")[-1000:].decode(errors="ignore").encode()
        try:
            self._send(child, REQUEST.pack(len(label), len(data)) + label + data, deadline)
            worked, text_length, words_length = ANSWER.unpack(
                self._receive(child, ANSWER.size, deadline)
            )
            if text_length + words_length > ANSWER_BYTES_MAX:
                raise TextUnreadable("it answers too much")
            text = self._receive(child, text_length, deadline).decode(errors="replace")
            words = self._receive(child, words_length, deadline).decode(errors="replace")
        except (OSError, TextUnreadable) as error:
            self.close()
            raise TextUnreadable(str(error)) from error
        if not worked:
            raise TextUnreadable("its format is broken")
        return ReadText(text, words.split("\n") if words else [])

    def kill(self) -> None:
        """From another thread: has the file that is being read be unreadable at once. Its pipes are
        closed by the thread that reads it alone, which would write into whatever has their numbers
        by then.
        """
        child = self._child
        if child is not None:
            _kill(child)

    def close(self) -> None:
        """Ends the process and all that it may have started; nobody may be reading."""
        child, self._child = self._child, None
        if child is None:
            return
        _kill(child)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: nothing of the directory that the daemon was started in is imported.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "peer.search.text_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG")},
            start_new_session=True,
            bufsize=0,
        )
        assert self._child.stdin is not None
        os.set_blocking(self._child.stdin.fileno(), False)
        return self._child

    @staticmethod
    def _send(child: subprocess.Popen[bytes], data: bytes, deadline: float) -> None:
        assert child.stdin is not None
        fd, rest = child.stdin.fileno(), memoryview(data)
        while rest:
            _wait(fd, select.POLLOUT, deadline)
            rest = rest[os.write(fd, rest[: 1 << 16]) :]

    @staticmethod
    def _receive(child: subprocess.Popen[bytes], length: int, deadline: float) -> bytes:
        assert child.stdout is not None
        fd, out = child.stdout.fileno(), bytearray()
        while len(out) < length:
            _wait(fd, select.POLLIN, deadline)
            piece = os.read(fd, min(length - len(out), 1 << 20))
            if not piece:
                raise TextUnreadable("the process that reads it has ended")
            out += piece
        return bytes(out)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _wait(fd: int, event: int, deadline: float) -> None:
    poll = select.poll()  # select() knows no descriptor above 1,023
    poll.register(fd, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TextUnreadable("it takes too long")
