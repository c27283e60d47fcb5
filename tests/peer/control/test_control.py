import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from peer.control.control import ROUTES, make_app
from peer.control.control_fields import BODY_SIZE_MAX
from peer.errors import UnknownFolder
from tests.peer.fake_daemon import RELAY, FakeDaemon

TOKEN = "the-token"  # not a secret: it opens nothing
GOOD_HEADERS = {
    "host": "localhost",
    "authorization": f"Bearer {TOKEN}",
    "content-type": "application/json",
}
EVERY_ROUTE = [(method, path) for method, path, _ in ROUTES]


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def content(self) -> Any:
        return json.loads(self.body)


async def ask(
    daemon: FakeDaemon,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
) -> Reply:
    """One request given to the application as a server would give it."""
    pairs = headers if isinstance(headers, list) else list((headers or GOOD_HEADERS).items())
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await make_app(daemon, TOKEN)(scope, receive, send)
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert not [name for name in head if name.startswith("access-control")]  # ever
    return Reply(sent[0]["status"], head, b"".join(part.get("body", b"") for part in sent[1:]))


async def ask_json(daemon: FakeDaemon, path: str, /, **members: Any) -> Reply:
    return await ask(daemon, "POST", path, json.dumps(members).encode())


async def test_status_is_the_daemons() -> None:
    daemon = FakeDaemon()
    reply = await ask(daemon, "GET", "/api/sync/status")
    assert reply.status == 200
    assert reply.content == await daemon.status()


async def test_an_answer_that_somebody_has_is_not_given_again() -> None:
    daemon = FakeDaemon()
    tag = (await ask(daemon, "GET", "/api/relays")).headers["etag"]
    known = {**GOOD_HEADERS, "if-none-match": tag}
    again = await ask(daemon, "GET", "/api/relays", headers=known)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert (await ask(daemon, "GET", "/api/sync/status", headers=known)).status == 200


async def test_each_act_reaches_the_daemon_with_its_fields(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    path = str(tmp_path)
    await ask_json(daemon, "/api/folders/create", path=path, name="photos")
    await ask_json(daemon, "/api/folders/attach", folder="photos", path=path)
    await ask_json(daemon, "/api/folders/remove", folder="photos")
    await ask_json(daemon, "/api/devices/remove", device="lost")
    await ask_json(daemon, "/api/relays/add", address=str(RELAY))
    await ask_json(daemon, "/api/relays/remove", address="relay.example")
    await ask(daemon, "GET", "/api/relays")
    nodes = [str(RELAY)]
    await ask_json(daemon, "/api/backups/add", folder="photos", nodes=nodes, needed=1, count=1)
    await ask_json(daemon, "/api/backups/remove", folder="photos")
    await ask(daemon, "GET", "/api/backups")
    await ask_json(daemon, "/api/kit", kit="PHY6TZ")
    await ask_json(daemon, "/api/sync/pause", folder="photos")
    await ask_json(daemon, "/api/sync/resume", folder=None)
    await ask_json(daemon, "/api/sync/answer", folder="photos", answer="restore")
    note, out = tmp_path / "note", tmp_path / "out"
    await ask(daemon, "GET", "/api/sync/conflicts")
    await ask_json(daemon, "/api/sync/conflict/resolve", path=str(note), keep="both")
    await ask_json(daemon, "/api/search", query="a b")
    await ask_json(daemon, "/api/search", query="a", limit=10**6)
    await ask_json(daemon, "/api/versions", path=str(note))
    await ask_json(daemon, "/api/versions", path=str(tmp_path), deleted=True)
    await ask_json(daemon, "/api/versions/restore", path=str(note), version=7, to=str(out))
    await ask_json(daemon, "/api/versions/restore", path=str(note), at_s=5)
    await ask_json(daemon, "/api/folders/restore", path=str(tmp_path), at_s=5, dry_run=True)
    await ask(daemon, "POST", "/api/devices/invite")
    await ask(daemon, "GET", "/api/folders")
    await ask(daemon, "POST", "/api/daemon/stop")
    assert daemon.calls == [
        ("add_folder", tmp_path, "photos"),
        ("attach_folder", "photos", tmp_path),
        ("remove_folder", "photos"),
        ("remove_device", "lost"),
        ("add_relay", RELAY),
        ("remove_relay", "relay.example"),
        ("list_relays",),
        ("add_backup", "photos", [RELAY], 1, 1),
        ("remove_backup", "photos"),
        ("backups",),
        ("show_kit", "PHY6TZ"),
        ("pause", "photos"),
        ("resume", None),
        ("answer_hold", "photos", "restore"),
        ("conflicts",),
        ("resolve", note, "both"),
        ("search", "a b", 50),
        ("search", "a", 1000),
        ("versions", note),
        ("deleted", tmp_path),
        ("restore", note, 7, None, out),
        ("restore", note, None, 5, None),
        ("restore_folder", tmp_path, 5, True),
        ("invite",),
        ("folders",),
        ("stop",),
    ]


async def test_what_nothing_came_of_is_no_deed(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    daemon.errors.clear()
    members: dict[str, Any] = {"path": str(tmp_path / "note"), "version": 7}
    await ask_json(daemon, "/api/versions/restore", **members)
    assert daemon.acts == [("/api/versions/restore", members)]
    daemon.errors.append({"path": "note", "reason": "There is something there already."})
    answer = await ask_json(daemon, "/api/versions/restore", **members)
    assert answer.content["failed"]
    assert len(daemon.acts) == 1


@pytest.mark.row("A36")
@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer the-toke"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": "Bearer the-token\xe9"}, 401),
        ({"host": "holdfast.example"}, 403),
        ({"host": "localhost.example:80"}, 403),
        ({"host": "127.0.0.1.example"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://localhost"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
async def test_guards_stand_before_every_route(
    method: str, path: str, changes: dict[str, str], status: int
) -> None:
    daemon = FakeDaemon()
    reply = await ask(daemon, method, path, b"{}", GOOD_HEADERS | changes)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert daemon.calls == []


async def test_two_hosts_are_one_too_many() -> None:
    headers = [("host", "example.com"), *GOOD_HEADERS.items()]
    assert (await ask(FakeDaemon(), "GET", "/api/sync/status", headers=headers)).status == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "127.0.0.1:8080"},
        {"host": "[::1]"},
        {"host": "LocalHost:1"},
        {"origin": "http://localhost"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"content-type": "application/json; charset=utf-8"},
    ],
)
async def test_what_is_local_passes(changes: dict[str, str]) -> None:
    reply = await ask(FakeDaemon(), "POST", "/api/devices/invite", b"", GOOD_HEADERS | changes)
    assert reply.status == 200


@pytest.mark.row("A36")
@pytest.mark.parametrize(
    "media_type",
    ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", ""],
)
async def test_a_form_cannot_act(media_type: str) -> None:
    daemon = FakeDaemon()
    headers = GOOD_HEADERS | {"content-type": media_type}
    for method, path in EVERY_ROUTE:
        if method == "POST":
            assert (await ask(daemon, method, path, b"{}", headers)).status == 415
    assert daemon.calls == []


@pytest.mark.row("A36")
async def test_get_changes_nothing() -> None:
    daemon = FakeDaemon()
    for method, path in EVERY_ROUTE:
        if method == "POST":
            assert (await ask(daemon, "GET", path)).status == 405
            assert (await ask(daemon, "OPTIONS", path)).status == 405
    assert daemon.calls == []
    for method, path in EVERY_ROUTE:
        if method == "GET":
            for asks in ("GET", "HEAD"):
                assert (await ask(daemon, asks, path)).status == 200
    reads = {"status", "folders", "devices", "list_relays", "conflicts", "notifications", "listed"}
    reads |= {"backups", "settings", "log"}
    assert {call for (call, *_) in daemon.calls} == reads


@pytest.mark.row("A36")
@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "XYZ"])
async def test_a_page_of_another_site_gets_403_whatever_it_asks(method: str) -> None:
    """What a browser asks before it acts, too: on every route, and where there is none."""
    daemon = FakeDaemon()
    for path in {*(path for _, path in EVERY_ROUTE), "/", "/api/nothing", "/index.html"}:
        for changes in (
            {"origin": "http://example.com", "access-control-request-method": "POST"},
            {"sec-fetch-site": "cross-site"},
            {"host": "rebound.example"},
        ):
            assert (await ask(daemon, method, path, b"", GOOD_HEADERS | changes)).status == 403
    assert daemon.calls == []


async def test_an_unknown_path_tells_only_who_may_ask() -> None:
    assert (await ask(FakeDaemon(), "GET", "/api/nothing")).status == 404
    assert (
        await ask(FakeDaemon(), "GET", "/api/nothing", headers={"host": "localhost"})
    ).status == 401


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"7",
        b"{",
        b"\xff",
        b'{"path": 7, "name": "x"}',
        b'{"path": "relative", "name": "x"}',
        b'{"path": "/a\\u0000b", "name": "x"}',
        b'{"path": "/a"}',
        b'{"path": "/a", "name": ""}',
        b'{"path": "/a", "name": "x", "nmae": "y"}',
        b"[" * 60_000,
        b'{"path": "/a", "name": "x"}' + b" " * BODY_SIZE_MAX,
    ],
)
async def test_a_wrong_body_is_a_sentence(body: bytes) -> None:
    daemon = FakeDaemon()
    reply = await ask(daemon, "POST", "/api/folders/create", body)
    assert reply.status == 400
    assert reply.content["code"] == "usage_error"
    assert daemon.calls == []


async def test_an_answer_that_is_none_of_the_choices() -> None:
    reply = await ask_json(FakeDaemon(), "/api/sync/answer", folder="f", answer="maybe")
    assert (reply.status, reply.content["code"]) == (400, "usage_error")


async def test_the_daemons_error_is_a_problem_document() -> None:
    daemon = FakeDaemon()
    daemon.failure = UnknownFolder("There is no folder called photos.")
    reply = await ask_json(daemon, "/api/folders/remove", folder="photos")
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.content == {
        "type": "about:blank",
        "title": UnknownFolder.sentence(),
        "status": 404,
        "detail": "There is no folder called photos.",
        "code": "unknown_folder",
        "exit_code": 20,
    }


async def test_a_defect_is_answered_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    daemon = FakeDaemon()
    daemon.failure = ZeroDivisionError("a secret")
    reply = await ask(daemon, "GET", "/api/sync/status")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "a secret" in caplog.text


async def test_cancelling_is_not_swallowed() -> None:
    daemon = FakeDaemon()
    daemon.failure = asyncio.CancelledError()  # type: ignore[assignment]
    with pytest.raises(asyncio.CancelledError):
        await ask(daemon, "GET", "/api/sync/status")


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/api/sync/conflict/resolve", {"path": "/x"}),
        ("/api/sync/conflict/resolve", {"path": "/x", "keep": "neither"}),
        ("/api/versions", {}),
        ("/api/versions", {"path": "relative"}),
        ("/api/versions", {"path": "/x", "deleted": 1}),
        ("/api/versions/restore", {"path": "/x", "version": -1}),
        ("/api/versions/restore", {"path": "/x", "version": True}),
        ("/api/versions/restore", {"path": "/x", "version": 1, "at_s": 1}),
        ("/api/versions/restore", {"path": "/x", "to": "relative"}),
        ("/api/folders/restore", {"path": "/x"}),
        ("/api/folders/restore", {"path": "/x", "at_s": 1 << 80}),
    ],
)
async def test_what_is_asked_of_history_is_checked(path: str, members: dict[str, Any]) -> None:
    daemon = FakeDaemon()
    assert (await ask_json(daemon, path, **members)).status == 400
    assert daemon.calls == []
