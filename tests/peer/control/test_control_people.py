"""Routes of the user and of what happened: every guard before them, each answer in its form."""

from __future__ import annotations

import pytest

from peer.control.log_requests import LogChoice
from tests.peer.control.test_control import GOOD_HEADERS, ask, ask_json
from tests.peer.fake_daemon import FakeDaemon

ROUTES = [
    ("GET", "/api/log"), ("GET", "/api/users/profile"), ("POST", "/api/users/register"),
    ("POST", "/api/users/login"), ("PUT", "/api/folders/share"), ("POST", "/api/search/suggest"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"authorization": "Bearer guess"}, 401),
    ],
)
async def test_the_guards_are_before_each(
    method: str, path: str, changed: dict[str, str], status: int
) -> None:
    daemon = FakeDaemon()
    reply = await ask(daemon, method, path, b"{}", GOOD_HEADERS | changed)
    assert (reply.status, daemon.calls) == (status, [])


@pytest.mark.parametrize("media_type", ["text/plain", "application/octet-stream"])
async def test_sharing_is_asked_in_json_though_it_is_a_put(media_type: str) -> None:
    headers = GOOD_HEADERS | {"content-type": media_type}
    reply = await ask(FakeDaemon(), "PUT", "/api/folders/share", b"{}", headers)
    assert reply.status == 415


async def test_what_is_not_built_is_a_501_with_its_reason() -> None:
    reply = await ask(FakeDaemon(), "PUT", "/api/folders/share", b'{"folder": "f", "user": "u"}')
    assert (reply.status, reply.content["code"]) == (501, "not_built")
    assert "holdfast invite" in reply.content["detail"]
    assert reply.headers["content-type"] == "application/problem+json"


async def test_an_identity_is_made_once() -> None:
    reply = await ask_json(FakeDaemon(), "/api/users/register", name="laptop")
    assert (reply.status, reply.content["code"]) == (409, "device_exists")


async def test_a_page_says_where_the_next_one_is() -> None:
    daemon = FakeDaemon()
    reply = await ask(daemon, "GET", "/api/log")
    assert reply.headers["link"] == '</api/log?cursor=5-1700000000>; rel="next"'
    assert daemon.calls == [("log", LogChoice())]


async def test_a_login_takes_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = FakeDaemon()
    assert (await ask_json(daemon, "/api/users/login")).status == 400
    monkeypatch.setattr(daemon.logins, "_open", lambda passphrase: None)
    reply = await ask_json(daemon, "/api/users/login", passphrase="x")
    headers = GOOD_HEADERS | {"authorization": f"Bearer {reply.content['token']}"}
    assert (await ask(daemon, "GET", "/api/sync/status", b"", headers)).status == 200
    assert daemon.acts[-1][0] == "/api/users/login"


async def test_a_merged_text_goes_with_its_path() -> None:
    daemon = FakeDaemon()
    path = "/api/sync/conflict/resolve"
    assert (await ask_json(daemon, path, path="/f/a", keep="merged")).status == 400
    assert (await ask_json(daemon, path, path="/f/a", keep="both", text="x")).status == 400
    assert (await ask_json(daemon, path, path="/f/a", keep="merged", text="")).status == 200
    assert [call[0] for call in daemon.calls] == ["merge"]
