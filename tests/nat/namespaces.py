"""Networks of their own within this machine: Linux network namespaces that have no name.

A namespace lives as long as a descriptor or a process in it. So nothing has to be swept: whatever
happens to the test, the kernel takes the interfaces, the addresses and the rules away with the last
process that used them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

Result = TypeVar("Result")

NEEDED: Final = ("ip", "nft", "tc", "nsenter")
CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class NoLab(Exception):
    """This machine cannot hold the lab; says what it lacks. A failure, and never a reason to skip:
    what the lab would have shown is not known then.
    """


class Namespace:
    """One network namespace; `name` is for messages and for the other end of a wire."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._descriptor = _new_namespace()

    @property
    def path(self) -> str:
        """Where other processes find it while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def run(self, *words: str, text: str | None = None) -> str:
        """Runs a program within; gives what it printed, or an AssertionError with what it said."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", *words],
            input=text, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.name}: {' '.join(words)}: {done.stderr}\n{text or ''}"
        return done.stdout

    def ip(self, *lines: str) -> None:
        """Carries out lines of `ip -batch`."""
        self.run("ip", "-batch", "-", text="\n".join(lines) + "\n")

    def nft(self, rules: str) -> None:
        """Replaces all rules by these."""
        self.run("nft", "-f", "-", text="flush ruleset\n" + rules)

    def set(self, *settings: tuple[str, object]) -> None:
        """Sets values below /proc/sys/net."""

        def write() -> None:
            for key, value in settings:
                setting = Path("/proc/sys/net", key)
                if setting.exists():  # a part that the kernel has not is not in the way either
                    setting.write_text(str(value))

        self.call(write)

    def call(self, work: Callable[[], Result]) -> Result:
        """Does this within, in a thread: a socket that is made there stays there."""
        answers: list[Result] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                enter_namespace(self._descriptor)
                answers.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]

    def close(self) -> None:
        """Lets go of it; it ends with the last process in it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def enter_namespace(descriptor: int) -> None:
    """Puts the thread that calls this into a namespace."""
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


def check_machine(needed: Sequence[str] = NEEDED) -> None:
    """Raises NoLab where there is no lab to be had, with what to do."""
    lacking = [name for name in needed if shutil.which(name) is None]
    if lacking:
        raise NoLab(
            f"The lab needs {', '.join(lacking)}: install the packages iproute2, nftables,"
            " util-linux and miniupnpd-nftables."
        )
    if os.geteuid() != 0:
        raise NoLab("The lab makes network namespaces, which only root may do.")


def _new_namespace() -> int:
    found: list[int] = []
    problem: list[int] = []

    def make() -> None:
        if _LIBC.unshare(CLONE_NEWNET):
            problem.append(ctypes.get_errno())
            return
        found.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if problem:
        raise NoLab(f"This system gives no network namespace: {os.strerror(problem[0])}.")
    return found[0]
