"""Files over HTTP: ranges, ETags, and the guards before them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peer.control.control import make_app
from peer.control.control_files import range_of
from peer.daemon import Daemon
from tests.peer.control.test_control import TOKEN, Reply
from tests.peer.device_stage import devices, folder_of, until

DATA = bytes(range(256)) * 20


async def ask(
    daemon: Daemon, method: str, path: str, body: bytes = b"", query: str = "", **headers: str
) -> Reply:
    given = {"host": "localhost", "authorization": f"Bearer {TOKEN}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": method, "scheme": "http", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }  # fmt: skip
    sent: list[Any] = []
    pieces = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return pieces.pop() if pieces else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await make_app(daemon, TOKEN)(scope, receive, send)
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], head, b"".join(part.get("body", b"") for part in sent[1:]))


class Place:
    """A device with one file in its folder."""

    def __init__(self, daemon: Daemon, root: Path, file_id: str, etag: str) -> None:
        self.daemon, self.root, self.id, self.etag = daemon, root, file_id, etag

    async def get(self, **headers: str) -> Reply:
        return await ask(self.daemon, "GET", f"/api/files/download/{self.id}", b"", "", **headers)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        (root / "note").write_bytes(DATA)
        await daemon.add_folder(root, "f")
        await until(lambda: folder_of(daemon).progress.summary.files == 1)
        reply = await ask(daemon, "GET", "/api/files/lookup", query=f"path={root}/note")
        assert reply.status == 200
        yield Place(daemon, root, reply.content["id"], reply.headers["etag"])


async def test_a_file_is_given_whole_and_in_ranges(place: Place) -> None:
    whole = await place.get()
    assert (whole.status, whole.body) == (200, DATA)
    assert whole.headers["etag"] == place.etag
    assert whole.headers["content-disposition"] == "attachment"
    part = await place.get(range="bytes=100-199")
    assert (part.status, part.body) == (206, DATA[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(DATA)}"
    assert (await place.get(range="bytes=-10")).body == DATA[-10:]
    assert (await place.get(range=f"bytes={len(DATA)}-")).status == 416
    assert (await place.get(range="bytes=0-9", if_range='"old"')).status == 200
    head = await ask(place.daemon, "HEAD", f"/api/files/download/{place.id}")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(DATA))


async def test_what_is_known_is_not_sent_again(place: Place) -> None:
    assert (await place.get(if_none_match=place.etag)).status == 304
    path = f"/api/files/metadata/{place.id}"
    assert (await ask(place.daemon, "GET", path, if_none_match=place.etag)).status == 304
    assert (await ask(place.daemon, "GET", path)).content["path"] == "note"


async def test_a_file_is_written_and_deleted_if_it_is_what_it_was_taken_for(place: Place) -> None:
    octets, path = "application/octet-stream", f"/api/files/{place.id}"
    refused = await ask(
        place.daemon, "PUT", path, b"new", content_type=octets, if_match='"another"'
    )
    assert refused.status == 412
    assert refused.content["code"] == "file_changed"
    assert (place.root / "note").read_bytes() == DATA
    done = await ask(place.daemon, "PUT", path, b"new", content_type=octets, if_match=place.etag)
    assert done.status == 200
    assert (place.root / "note").read_bytes() == b"new"
    made = await ask(
        place.daemon, "POST", "/api/files/upload", b"more", "folder=f&path=d/more",
        content_type=octets,
    )  # fmt: skip
    assert made.status == 200
    assert (place.root / "d" / "more").read_bytes() == b"more"
    await until(lambda: folder_of(place.daemon).progress.summary.files == 2)
    gone = await ask(
        place.daemon, "DELETE", f"/api/files/delete/{place.id}", content_type="application/json"
    )
    assert gone.status == 200
    assert not (place.root / "note").exists()


@pytest.mark.row("A36")
async def test_the_guards_stand_before_files_too(place: Place) -> None:
    octets, path = "application/octet-stream", f"/api/files/{place.id}"
    for wrong in ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded",
                  "application/json"):  # fmt: skip
        for method, where in (("PUT", path), ("POST", "/api/files/upload")):
            assert (await ask(place.daemon, method, where, b"x", content_type=wrong)).status == 415
    for headers in ({"origin": "http://evil"}, {"sec_fetch_site": "cross-site"},
                    {"host": "evil"}, {"authorization": "Bearer x"}):  # fmt: skip
        reply = await ask(place.daemon, "PUT", path, b"x", content_type=octets, **headers)
        assert reply.status in (401, 403)
    assert (place.root / "note").read_bytes() == DATA


async def test_what_is_not_there_is_a_problem_document(place: Place) -> None:
    for path in ("/api/files/metadata/x", "/api/files/download/x", "/api/files/versions/x"):
        reply = await ask(place.daemon, "GET", path)
        assert reply.status == 404
        assert reply.headers["content-type"] == "application/problem+json"
        assert json.loads(reply.body)["code"] == "unknown_file"


@pytest.mark.parametrize(
    ("text", "size", "wanted"),
    [
        ("bytes=0-0", 10, (0, 0)), ("bytes=5-", 10, (5, 9)), ("bytes=5-99", 10, (5, 9)),
        ("bytes=-3", 10, (7, 9)), ("bytes=-99", 10, (0, 9)), ("bytes=10-", 10, None),
        ("bytes=-0", 10, None), ("bytes=7-3", 10, None), ("bytes=0-", 0, None),
        ("bytes=0-1,3-4", 10, (0, 9)), ("items=0-1", 10, (0, 9)), ("bytes=-", 10, (0, 9)),
        ("bytes=" + "9" * 30 + "-", 10, (0, 9)),
    ],
)  # fmt: skip
def test_a_range_is_read(text: str, size: int, wanted: tuple[int, int] | None) -> None:
    assert range_of(text, size) == wanted
