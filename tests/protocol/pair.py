"""Two sessions with a fake link between: frames are carried, dropped or reordered by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protocol.events import Event
from protocol.messages import Message, decode
from protocol.session import Frame, Session, SessionState


def flat(parts: Iterable[bytes | memoryview]) -> bytes:
    """A payload in one piece, as the other side gets it."""
    return b"".join(bytes(part) for part in parts)


class SessionPair:
    """`left` and `right`, their clocks the same, and what is on its way between them."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.left = Session(now, "left")
        self.right = Session(now, "right")
        self.events: dict[Session, list[Event]] = {self.left: [], self.right: []}
        self.carried: list[tuple[str, Message]] = []
        self._on_the_way: dict[Session, list[Frame]] = {self.left: [], self.right: []}

    def other(self, session: Session) -> Session:
        return self.right if session is self.left else self.left

    def transfer(self, sender: Session) -> int:
        """Carries all that one side has to say to the other; the number of frames."""
        frames = self.on_the_way(sender)
        receiver = self.other(sender)
        self._on_the_way[sender] = []
        name = "left" if sender is self.left else "right"
        for number, parts, _ in frames:
            payload = flat(parts)
            self.carried.append((name, decode(number, payload)))
            receiver.receive(number, payload, self.now)
            self.collect(receiver)
        return len(frames)

    def roundtrip(self) -> int:
        """Carries frames both ways once."""
        return self.transfer(self.left) + self.transfer(self.right)

    def roundtrip_until_quiet(self, rounds_max: int = 100) -> None:
        """Carries frames until nobody has anything to say."""
        for _ in range(rounds_max):
            if not self.roundtrip():
                return
        raise AssertionError("too many roundtrips")

    def on_the_way(self, sender: Session) -> list[Frame]:
        """What one side has sent and the other not yet got."""
        self._on_the_way[sender] += sender.frames_to_send()
        return self._on_the_way[sender]

    def drop(self, sender: Session) -> int:
        """Loses what is on its way, as when a link breaks."""
        frames = self.on_the_way(sender)
        self._on_the_way[sender] = []
        return len(frames)

    def reorder_bulk(self, sender: Session) -> None:
        """Lets bulk frames overtake all others and each other, as streams of their own may."""
        frames = self.on_the_way(sender)
        bulk = [frame for frame in frames if frame[2]]
        self._on_the_way[sender] = bulk[::-1] + [frame for frame in frames if not frame[2]]

    def collect(self, session: Session) -> None:
        """Takes the events that a session has for its owner."""
        while (event := session.next_event()) is not None:
            self.events[session].append(event)

    def take(self, session: Session, kind: type[Any] = object) -> list[Any]:
        """The events of a kind since they were last taken; the others are forgotten."""
        self.collect(session)
        events, self.events[session] = self.events[session], []
        return [event for event in events if isinstance(event, kind)]

    def advance(self, seconds: float) -> None:
        """Lets time pass in one step, and both timers be handled."""
        self.now += seconds
        for session in (self.left, self.right):
            session.handle_timer(self.now)
            self.collect(session)

    def open(self) -> SessionPair:
        """Both greet."""
        self.roundtrip()
        assert self.left.state is self.right.state is SessionState.OPEN
        self.take(self.left)
        self.take(self.right)
        return self
