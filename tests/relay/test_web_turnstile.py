"""Places for requests: so many at once, and who has the most gives one up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from relay import web_turnstile
from relay.web_answers import BrokenOff
from relay.web_turnstile import Turnstile


def scope(host: str) -> dict[str, Any]:
    return {"type": "http", "client": (host, 1), "headers": [], "method": "GET", "path": "/"}


class Stage:
    """Requests that are answered when they are told to be."""

    def __init__(self, per_second: int = 0) -> None:
        self.go = asyncio.Event()
        self.turnstile = Turnstile(self._answer, self._host, per_second)
        self.sent: list[Any] = []
        self.is_stuck = False

    @staticmethod
    def _host(request: Request) -> str:
        assert request.client is not None
        return request.client.host

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(self, message: Any) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def ask(self, host: str) -> None:
        await self.turnstile(scope(host), None, self.send)  # type: ignore[arg-type]

    def begin(self, host: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self.ask(host))

    @property
    def statuses(self) -> list[int]:
        return [each["status"] for each in self.sent if "status" in each]


async def test_one_address_has_so_many_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_turnstile, "REQUESTS_PER_ADDRESS_MAX", 2)
    stage = Stage()
    first = [stage.begin("192.0.2.1") for _ in range(2)]
    await asyncio.sleep(0)
    await stage.ask("192.0.2.1")
    assert stage.statuses == [503]
    other = stage.begin("192.0.2.2")
    stage.go.set()
    await asyncio.gather(other, *first)
    assert stage.statuses == [503, 200, 200, 200]
    await stage.ask("192.0.2.1")
    assert stage.statuses[-1] == 200, "places are given back"


async def test_who_has_the_most_gives_its_oldest_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_turnstile, "REQUESTS_MAX", 3)
    stage = Stage()
    flood = [stage.begin("192.0.2.1") for _ in range(3)]
    await asyncio.sleep(0)
    other = stage.begin("192.0.2.2")
    with pytest.raises(BrokenOff):
        await flood[0]
    stage.go.set()
    await asyncio.gather(other, *flood[1:])
    assert stage.statuses == [200, 200, 200]


async def test_who_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_turnstile, "STALL_S", 0.0)
    stage = Stage()
    stage.is_stuck = True
    stage.go.set()
    with pytest.raises(ClientDisconnect):
        await stage.ask("192.0.2.1")


async def test_who_asks_too_often_is_told_when_to_come_again() -> None:
    stage = Stage(per_second=1)
    stage.go.set()
    for _ in range(61):
        await stage.ask("192.0.2.1")
    assert stage.statuses == [*[200] * 60, 429]
    (retry,) = [value for name, value in stage.sent[-2]["headers"] if name == b"retry-after"]
    assert 0 < int(retry) <= 60
    await stage.ask("192.0.2.2")
    assert stage.statuses[-1] == 200


async def test_what_is_no_request_goes_through() -> None:
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["type"])

    await Turnstile(app, lambda request: "")({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert asked == ["lifespan"]
