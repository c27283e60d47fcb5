"""Watches a folder where there is no inotify, through watchdog, which is only imported here."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterable
from typing import Any, Final

from peer.core.disk_types import INTERNAL_NAME, Path, Problem
from peer.disk.watcher import Hints, Watcher

log = logging.getLogger(__name__)

_JOIN_S: Final = 5.0
_PENDING_MAX: Final = 100_000
"""More names than this, and a rescan is cheaper."""


class PortableWatcher(Watcher):
    """Watchdog's events, arriving on its thread, gathered until somebody reads them."""

    def __init__(self, root: str, observer: Any = None) -> None:
        self._root = os.path.realpath(root)
        self._lock = threading.Lock()
        self._hints = Hints()
        self._count = 0
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        if observer is None:
            from watchdog.observers import Observer

            observer = Observer()
        self._observer = observer
        self._observer.schedule(self, self._root, recursive=True)
        self._observer.start()

    def fileno(self) -> int:
        """The socket that the observer's thread writes to."""
        return self._woken.fileno()

    def watch(self, paths: Iterable[Path]) -> list[Problem]:
        """Everything is watched already."""
        return []

    def read(self) -> Hints:
        """Takes what has been gathered."""
        try:
            while self._woken.recv(4_096):
                pass
        except BlockingIOError:
            pass
        with self._lock:
            hints, self._hints, self._count = self._hints, Hints(), 0
        return hints

    def close(self) -> None:
        """Ends the observer's thread."""
        self._observer.stop()
        self._observer.join(_JOIN_S)
        self._wake.close()
        self._woken.close()

    def dispatch(self, event: Any) -> None:
        """Takes one event from watchdog, on its thread."""
        if event.event_type in ("opened", "closed_no_write"):
            return
        is_new_directory = event.is_directory and event.event_type in ("created", "moved")
        with self._lock:
            for raw in (event.src_path, getattr(event, "dest_path", "")):
                path = self._relative(os.fsdecode(raw))
                if path is None:
                    continue
                if not path:
                    self._hints.is_root_gone |= event.event_type in ("deleted", "moved")
                    continue
                self._count += 1
                if self._count > _PENDING_MAX:
                    self._hints.has_overflowed = True
                    self._hints.changed.clear()
                    continue
                self._hints.add(path[:-1], path[-1])
                if is_new_directory and event.event_type == "created":
                    self._hints.changed[path] = set()
        self._notify()

    def _relative(self, path: str) -> Path | None:
        if path == self._root:
            return ()
        if not path.startswith(self._root + os.sep):
            return None
        names = tuple(path[len(self._root) + 1 :].split(os.sep))
        return None if names[0] == INTERNAL_NAME else names

    def _notify(self) -> None:
        try:
            self._wake.send(b"\0")
        except BlockingIOError:
            # It is full of wake-ups that nobody has taken yet.
            return
        except OSError:
            log.debug("an event came after the end")
