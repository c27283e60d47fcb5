"""A session on a playbook's stage: messages and calls go in, messages and events come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.events import Event
from protocol.messages import Message, decode, encode
from protocol.session import Session
from tests.protocol.pair import flat


@dataclass
class Call:
    """The owner calls a method of the session."""

    name: str
    arguments: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"{self.name}{self.arguments}"


@dataclass
class Passes:
    """Time passes, and the timer is handled."""

    seconds: float


def call(name: str, *arguments: Any) -> Call:
    return Call(name, arguments)


class SessionStage:
    """What comes out: first the messages sent, then the events."""

    def __init__(self) -> None:
        self.now = 0.0
        self.session = Session(self.now, "Here")

    def play(self, stimulus: Message | Call | Passes) -> list[Message | Event]:
        if isinstance(stimulus, Call):
            method: Callable[..., Any] = getattr(self.session, stimulus.name)
            method(*stimulus.arguments)
        elif isinstance(stimulus, Passes):
            self.now += stimulus.seconds
            self.session.handle_timer(self.now)
        else:
            number, parts = encode(stimulus)
            self.session.receive(number, flat(parts), self.now)
        return self.outputs()

    def outputs(self) -> list[Message | Event]:
        out: list[Message | Event] = [
            decode(number, flat(parts)) for number, parts, _ in self.session.frames_to_send()
        ]
        while (event := self.session.next_event()) is not None:
            out.append(event)
        return out
