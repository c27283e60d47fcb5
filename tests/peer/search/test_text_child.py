"""The process that reads texts answers every request in its form, and has little to lose."""

from __future__ import annotations

import io
import subprocess
import sys

from peer.search.text_child import ANSWER, REQUEST, answer, serve


def test_each_request_is_answered_in_turn() -> None:
    asked = [(b"a.txt", b"Two words"), (b"b.pdf", b"broken"), (b"c.md", b"")]
    requests = io.BytesIO(b"".join(REQUEST.pack(len(n), len(d)) + n + d for n, d in asked))
    answers = io.BytesIO()
    begun: list[None] = []
    serve(requests, answers, lambda: begun.append(None))
    assert len(begun) == 3
    assert answers.getvalue() == (
        ANSWER.pack(True, 9, 9) + b"Two words" + b"two\nwords"
        + ANSWER.pack(False, 0, 0) + ANSWER.pack(True, 0, 0)
    )  # fmt: skip


def test_what_is_no_unicode_is_answered_all_the_same() -> None:
    worked, text, _ = answer("a.txt", "\ufeff".encode("utf-16-le") + b"\x00\xd8")
    assert worked
    assert text.decode()


RIGHTS = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from peer.search.text_child import allow_time, give_up_rights
give_up_rights()
allow_time()
lost = []
for name, act in {
    "memory": lambda: bytearray(2 << 30),
    "file": lambda: os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), b"x"),
    "time": lambda: resource.getrlimit(resource.RLIMIT_CPU)[0] < 60 or 1 / 0,
}.items():
    try:
        act()
    except (MemoryError, OSError):
        lost.append(name)
print(*lost)
"""


def test_it_gives_up_what_it_does_not_need(tmp_path: object) -> None:
    words = [sys.executable, "-c", RIGHTS, f"{tmp_path}/file"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["memory", "file"]
