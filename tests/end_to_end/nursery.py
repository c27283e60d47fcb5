"""Daemons in a tenth of the time: a process that has imported all of Holdfast, and forks.

The daemon that is forked is a process of its own and runs what `python -m peer` runs; only its
imports are done already, which is most of what a start costs.
"""

import atexit
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TextIO

ROOT: Final = Path(__file__).parent.parent.parent
END_TIMEOUT_S: Final = 20.0
TRACER_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.005
PR_SET_PTRACER: Final = 0x59616D61
PR_SET_PDEATHSIG: Final = 1
CLONE_NEWNET: Final = 0x40000000
CLONE_NEWNS: Final = 0x00020000
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
TRACER: Final = re.compile(r"^TracerPid:\t(\d+)$", re.MULTILINE)


class Forked:
    """A daemon of a nursery, with the few methods of a Popen that tests use."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Waits for the exit code; TimeoutExpired."""
        began_at = time.monotonic()
        while (code := self.poll()) is None:
            passed_s = time.monotonic() - began_at
            if passed_s > timeout:
                raise subprocess.TimeoutExpired("a forked daemon", timeout)
            if passed_s > timeout / 2:
                self._free_of_tracer()
            time.sleep(POLL_S)
        return code

    def _free_of_tracer(self) -> None:
        """What was killed stays where it is until its tracer has seen the end of each thread, and
        strace misses one now and then.
        """
        with contextlib.suppress(OSError):  # either has ended
            is_dead = "\nState:\tZ" in Path(f"/proc/{self.pid}/status").read_text()
            if is_dead and (tracer := tracer_of(self.pid)):
                os.kill(tracer, signal.SIGKILL)

    def send_signal(self, how: signal.Signals) -> None:
        """Sends it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, how)

    def kill(self) -> None:
        """Ends it as kill -9 does."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The forking process, seen from a test."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def start(
        self,
        words: Sequence[str],
        log: Path,
        is_traced: bool = False,
        *,
        network: str | None = None,
        hosts: Path | None = None,
        errors: Path | None = None,
    ) -> Forked:
        """Forks `holdfast WORDS`; with `is_traced` it does nothing until a tracer is attached.

        `network` is the file of a network namespace for it, `hosts` what it sees as /etc/hosts;
        `errors` is for its standard error, if that is not to be in the log.
        """
        asked = {
            "words": list(words), "log": str(log), "is_traced": is_traced,
            "network": network, "hosts": str(hosts or ""), "errors": str(errors or log),
        }  # fmt: skip
        return Forked(self, self.ask(asked))

    def run(self, words: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Forks `holdfast WORDS` and waits for its end; TimeoutExpired."""
        with tempfile.TemporaryDirectory() as place:
            out, errors = Path(place, "out"), Path(place, "errors")
            process = self.start(words, out, errors=errors)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_TIMEOUT_S)
                raise
            return subprocess.CompletedProcess(words, code, out.read_text(), errors.read_text())

    def hurry(self, retry_s: float) -> None:
        """Has whatever is forked from now on try again so soon what a disk refused: by itself a
        folder waits seconds, which is most of a round in which a disk fails.
        """
        self.ask({"retry_s": retry_s})

    def ask(self, question: dict[str, Any]) -> Any:
        """One question, one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """Ends the forking process; whoever was forked is to be ended before."""
        self._process.communicate(timeout=END_TIMEOUT_S)


@cache
def _shared(of_process: int) -> Nursery:
    nursery = Nursery()
    atexit.register(lambda: nursery.end() if os.getpid() == of_process else None)
    return nursery


def shared() -> Nursery:
    """The one that all tests of this process have their daemons and commands from."""
    return _shared(os.getpid())


def tracer_of(pid: int | str) -> int:
    """The process that traces this one; 0 if none does."""
    with contextlib.suppress(OSError):  # it has ended
        if found := TRACER.search(Path(f"/proc/{pid}/status").read_text()):
            return int(found[1])
    return 0


# ---------------------------------------------------------------- the forking process itself


def serve(questions: TextIO, answers: TextIO) -> list[str] | None:
    """Answers until the end; in a child it returns the words of the daemon to become."""
    for line in questions:
        question = json.loads(line)
        answer: int | None
        if "poll" in question:
            ended, status = os.waitpid(question["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        elif "retry_s" in question:
            answer = None
            _set_waits(question["retry_s"])
        else:
            answer = os.fork()
            if not answer:
                _become(question)
                words: list[str] = question["words"]
                return words
        print(json.dumps(answer), file=answers, flush=True)
    return None


def _set_waits(retry_s: float) -> None:
    from peer.core import patience
    from peer.folders import delivery, folder

    for module, name in (
        (patience, "RETRY_S"),
        (folder, "RETRY_S"),
        (delivery, "NO_ROOM_S"),
        (delivery, "ASK_AGAIN_S"),
    ):
        assert hasattr(module, name)
        setattr(module, name, retry_s)


def _become(question: dict[str, Any]) -> None:
    """Leaves the nursery's pipes, enters its network, and waits for the tracer if there is to be
    one. It ends with the nursery, and that with the test: a test that is killed leaves nothing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if question["network"] is not None:
        with open(question["network"], "rb") as network:
            if libc.setns(network.fileno(), CLONE_NEWNET):
                sys.exit(f"cannot enter the network: {os.strerror(ctypes.get_errno())}")
    if question["hosts"]:
        nothing, private = ctypes.c_char_p(None), ctypes.c_ulong(MS_REC | MS_PRIVATE)
        hosts = question["hosts"].encode()
        if (
            libc.unshare(CLONE_NEWNS)
            or libc.mount(b"none", b"/", nothing, private, nothing)
            or libc.mount(hosts, b"/etc/hosts", nothing, ctypes.c_ulong(MS_BIND), nothing)
        ):
            sys.exit(f"cannot have its own hosts: {os.strerror(ctypes.get_errno())}")
    appends = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, question["log"], appends),
        (2, question["errors"], appends),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    if question["is_traced"]:
        libc.prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # whoever may
        deadline = time.monotonic() + TRACER_TIMEOUT_S
        while not tracer_of("self"):
            if time.monotonic() > deadline:
                sys.exit("nobody traces this daemon")
            time.sleep(POLL_S)


def main() -> int:
    """The forking process."""
    import peer.daemon  # noqa: F401 - it is imported late by the command line
    from peer.command_line.cli import main as run

    words = serve(sys.stdin, sys.stdout)
    return 0 if words is None else run(words)


if __name__ == "__main__":
    sys.exit(main())
