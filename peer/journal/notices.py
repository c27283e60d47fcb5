"""What a person should hear of: kept until it is read, trouble before news, a flood as one.

Pure: the time is an argument, and who is told is the business of `notice_outlets`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Final

from peer.command_line.terminal import term_safe
from peer.status import NoticeEntry

NOTICES_MAX: Final = 200
"""Kept at once; who has 200 unread needs no more."""
TEXT_LENGTH_MAX: Final = 500
BATCH_S: Final = 600
"""Unread news of one kind and folder within this time are one notice."""
QUIET_S: Final = 2
"""News wait so long for company before anybody is told."""
AGAIN_S: Final = 60
"""A notice that grows is told of again at most once a minute."""
NEVER: Final = 1 << 53


class Priority(IntEnum):
    """What comes first."""

    NEWS = 1
    QUESTION = 2
    """Something waits for the person's decision."""
    TROUBLE = 3


Words = Callable[[str, int, str], str]
"""Of the folder, how many there were, and the latest of them."""


def _conflict(folder: str, count: int, about: str) -> str:
    if count == 1:
        return (
            f"In {folder}, two edits of one file were kept: {about}. `holdfast conflicts` lists it."
        )
    return (
        f"In {folder}, two edits each of {count} files were kept, of {about} at last."
        " `holdfast conflicts` lists them."
    )


def _synced(folder: str, count: int, about: str) -> str:
    return f"In {folder}, {count} changes from other devices have come, and all is in sync."


def _received(folder: str, count: int, about: str) -> str:
    files = "A file has" if count == 1 else f"{count} files have"
    return f"{files} come into {folder} by an upload link, from {about or 'somebody unnamed'}."


KINDS: Final[Mapping[str, tuple[Priority, Words]]] = {
    "trouble": (Priority.TROUBLE, lambda folder, count, about: f"In {folder}: {about}"),
    "warning": (Priority.TROUBLE, lambda folder, count, about: f"Of {folder}: {about}"),
    "trail": (Priority.TROUBLE, lambda folder, count, about: about),
    "asking": (Priority.QUESTION, lambda folder, count, about: f"A question of {folder}: {about}"),
    "conflict": (Priority.QUESTION, _conflict),
    "joined": (
        Priority.NEWS,
        lambda folder, count, about: (
            f"The device {about} is one of yours now."
            " If that was not you: `holdfast devices remove` it."
        ),
    ),
    "removed": (
        Priority.NEWS,
        lambda folder, count, about: f"The device {about} is none of yours any more.",
    ),
    "offered": (
        Priority.NEWS,
        lambda folder, count, about: (
            f"The folder {folder} is offered: `holdfast folder attach` puts it on a path here."
        ),
    ),
    "synced": (Priority.NEWS, _synced),
    "received": (Priority.NEWS, _received),
}
STANDING: Final = frozenset({"trouble", "warning", "asking"})
"""What lasts until it is over: one notice, however often it is said."""


@dataclass(slots=True)
class Notice:
    """One thing to hear of."""

    id: int
    time_s: int
    """When it was said first."""
    latest_s: int
    kind: str
    folder: str
    about: str
    count: int = 1
    is_read: bool = False
    is_over: bool = False
    """What it tells of is so no more."""
    due_s: int = NEVER
    """When to tell of it outside."""
    told: int = 0
    """How many it was of when it was told last."""
    waiting: list[str] = field(default_factory=list)
    """Ways to tell of it outside that have neither taken it yet nor were given up."""

    @property
    def priority(self) -> Priority:
        """What it comes before."""
        return KINDS[self.kind][0]

    @property
    def text(self) -> str:
        """A sentence, safe for a terminal."""
        text = term_safe(KINDS[self.kind][1](self.folder or "a folder", self.count, self.about))
        if self.is_over and self.kind in STANDING:
            text = f"It is over: {text}"
        return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"

    def entry(self) -> NoticeEntry:
        """As it is told."""
        return {
            "id": self.id, "time_s": self.latest_s, "priority": self.priority.name.lower(),
            "kind": self.kind, "folder": self.folder, "text": self.text, "count": self.count,
            "read": self.is_read, "over": self.is_over,
        }  # fmt: skip


class NoticeBoard:
    """All of one device's."""

    def __init__(self, stored: bytes | None = None) -> None:
        """`stored`: as `encode` gave it; what cannot be read is no loss that stops a daemon."""
        self.notices: dict[int, Notice] = {}
        self.version = 0
        """Counts changes."""
        self._next_id = 1
        for notice in _read(stored or b"[]"):
            self.notices[notice.id] = notice
            self._next_id = max(self._next_id, notice.id + 1)

    def encode(self) -> bytes:
        """To be kept."""
        return json.dumps([asdict(notice) for notice in self.notices.values()]).encode()

    def tell(
        self, kind: str, now_s: int, folder: str = "", about: str = "", count: int = 1
    ) -> None:
        """Something to hear of: a new notice, or one more of a notice that nobody has read."""
        about = about[:TEXT_LENGTH_MAX]
        known = self._open(kind, folder, about, now_s)
        if known is None:
            wait_s = 0 if KINDS[kind][0] is Priority.TROUBLE else QUIET_S
            known = Notice(
                self._next_id, now_s, now_s, kind, folder, about, count, due_s=now_s + wait_s
            )
            self.notices[known.id] = known
            self._next_id += 1
            self._make_room()
        elif kind in STANDING:
            if known.about == about:
                return
            known.about, known.latest_s = about, now_s
            known.due_s = min(known.due_s, now_s + AGAIN_S)
        else:
            known.about, known.latest_s, known.count = about, now_s, known.count + count
            known.due_s = min(known.due_s, now_s + AGAIN_S)
        self.version += 1

    def end(self, kind: str, folder: str, now_s: int) -> None:
        """What lasted is over: nobody has to read of it any more. Who was told outside that there
        is trouble is told that it is over.
        """
        for notice in self.notices.values():
            if (notice.kind, notice.folder) == (kind, folder) and not notice.is_over:
                notice.is_over = notice.is_read = True
                notice.latest_s = now_s
                is_missed = notice.told and notice.priority is Priority.TROUBLE
                notice.due_s = now_s if is_missed else NEVER
                self.version += 1

    def name(self, kind: str, unnamed: str, name: str) -> None:
        """Who was told of by an id, for want of a name, has said its name."""
        for notice in self.notices.values():
            if (notice.kind, notice.about) == (kind, unnamed):
                notice.about = name
                self.version += 1

    def has_conflicts(self, folder: str) -> bool:
        """Whether there is a notice of conflicts in this folder that is not over."""
        return any(
            (n.kind, n.folder) == ("conflict", folder) and not n.is_over
            for n in self.notices.values()
        )

    def settle_conflicts(self, folder: str, left: Collection[str]) -> None:
        """These conflict copies are left in this folder: of the others nobody has to read."""
        known = {path[:TEXT_LENGTH_MAX] for path in left}
        for notice in self.notices.values():
            if (notice.kind, notice.folder) != ("conflict", folder) or notice.is_over:
                continue
            if not known or (notice.count == 1 and notice.about not in known):
                notice.is_over = notice.is_read = True
                notice.due_s = NEVER
                self.version += 1

    def mark_as_read(self, ids: Iterable[int] | None = None) -> int:
        """Those of these ids, or all; says how many were unread."""
        chosen = self.notices.values() if ids is None else [
            self.notices[i] for i in ids if i in self.notices
        ]  # fmt: skip
        unread = [notice for notice in chosen if not notice.is_read]
        for notice in unread:
            notice.is_read = True
        self.version += bool(unread)
        return len(unread)

    @property
    def unread(self) -> int:
        """How many nobody has read."""
        return sum(not notice.is_read for notice in self.notices.values())

    def listed(self, *, unread_only: bool, limit: int) -> list[NoticeEntry]:
        """Unread before read, trouble before news, the newest first."""
        chosen = [n for n in self.notices.values() if not (unread_only and n.is_read)]
        chosen.sort(key=lambda n: (n.is_read, -n.priority, -n.latest_s, -n.id))
        return [notice.entry() for notice in chosen[:limit]]

    def take_due(self, now_s: int, ways: Sequence[str] = ()) -> list[Notice]:
        """Those to be told of outside now, in each of these ways, the most urgent first."""
        due = [n for n in self.notices.values() if n.due_s <= now_s]
        for notice in due:
            notice.due_s, notice.told, notice.waiting = NEVER, notice.count, list(ways)
        self.version += bool(due)
        return _urgent_first(due)

    def waiting_for(self, way: str) -> list[Notice]:
        """Those that were not told in this way when the last run ended."""
        return _urgent_first(n for n in self.notices.values() if way in n.waiting)

    def settle(self, notice: Notice, way: str) -> None:
        """It was told in this way, or this way was given up: not again after a restart."""
        if way in notice.waiting:
            notice.waiting.remove(way)
            self.version += 1

    def _open(self, kind: str, folder: str, about: str, now_s: int) -> Notice | None:
        """The notice that one more belongs to."""
        for notice in reversed(self.notices.values()):
            if (notice.kind, notice.folder) != (kind, folder) or notice.is_over:
                continue
            if kind in STANDING:
                # A warning of one device is not that of another.
                if kind != "warning" or notice.about == about:
                    return notice
            elif not notice.is_read and kind in ("conflict", "synced", "received"):
                # What one sender puts in is not another's.
                is_same = kind != "received" or notice.about == about
                if is_same and now_s - notice.latest_s < BATCH_S:
                    return notice
        return None

    def _make_room(self) -> None:
        """Read ones go first, then news, the oldest first."""
        while len(self.notices) > NOTICES_MAX:
            last = min(self.notices.values(), key=lambda n: (not n.is_read, n.priority, n.id))
            del self.notices[last.id]


def _urgent_first(notices: Iterable[Notice]) -> list[Notice]:
    return sorted(notices, key=lambda n: (-n.priority, n.id))


def _read(stored: bytes) -> list[Notice]:
    try:
        values: list[dict[str, Any]] = json.loads(stored)
        notices = [Notice(**value) for value in values]
        return [
            n
            for n in notices
            if n.kind in KINDS and type(n.id) is int and n.text and type(n.waiting) is list
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []
