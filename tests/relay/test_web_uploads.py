"""Senders before a real endpoint: what may be put in, and each thing that a hostile one may try."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from crypto.uploads import HEAD_SIZE_MAX, SEALED_SEGMENT_SIZE, SEGMENT_SIZE
from relay import web_uploads
from relay.upload_rows import UploadState
from relay.web_uploads import SEGMENTS_PER_REQUEST
from tests.relay.http2_visitor import http2_to
from tests.relay.http3_visitor import asked, visiting
from tests.relay.relay_stage import LOOPBACK
from tests.relay.test_web import check_headers
from tests.relay.upload_stage import Sealed, Sender, make_upload_link, put_upload_link, sealed_file
from tests.relay.web_stage import WebStage, text_of, web_stage


@pytest.mark.row("A38")
async def test_a_file_is_sent_and_sent_again_to_no_avail(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as web:
        link = make_upload_link()
        await put_upload_link(web.links, link)
        sender = await Sender.claim(web, link)
        sealed = sealed_file(link, os.urandom(2 * SEGMENT_SIZE + 5))
        begun = await sender.begin(sealed)
        check_headers(begun)
        assert begun.json == {"at": 0, "whole": False}
        first = await sender.put(sealed, 0, sealed.segments[0])
        assert first.json == {"at": 1, "whole": False}
        replayed = await sender.put(sealed, 0, bytes(SEALED_SEGMENT_SIZE))
        assert replayed.json == {"at": 1, "whole": False}, "what is there stays as it is"
        skipped = await sender.put(sealed, 2, sealed.segments[2])
        assert skipped.json == {"at": 1, "whole": False}
        rest = await sender.put(sealed, 1, b"".join(sealed.segments[1:]))
        assert rest.json == {"at": 3, "whole": True}
        assert (await sender.begin(sealed)).json == {"at": 3, "whole": True}
        (row,) = web.links.uploads.waiting(link.made.link_id)
        kept = web.links.uploads.read(row, 0, 1 << 30)
        assert kept == b"".join(sealed.segments)
        assert (await sender.room()).json == {
            "files": 1, "files_max": 10, "bytes": sealed.size, "bytes_max": 16 << 20,
            "file_bytes_max": 8 << 20,
        }  # fmt: skip


@pytest.mark.row("A39")
async def test_who_has_no_ticket_of_the_link_learns_nothing(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as web:
        link, other = make_upload_link(), make_upload_link()
        for each in (link, other):
            await put_upload_link(web.links, each)
        head = await web.ask("GET", f"{link.made.path}/head")
        assert head.json["flags"] == 0, "not even that it takes files"
        sealed = sealed_file(link, b"x")
        foreign = (await Sender.claim(web, other)).ticket
        for ticket in (foreign, text_of(bytes(16)), "", "x"):
            sender = Sender(web, link, ticket)
            for answer in (await sender.begin(sealed), await sender.room(),
                           await sender.put(sealed, 0, b"x")):  # fmt: skip
                assert (answer.status, answer.body) == (404, b"")
        assert web.links.uploads.find(link.made.link_id, sealed.upload_id) is None


@pytest.mark.row("A39")
async def test_more_than_was_claimed_is_not_kept(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as web:
        link = make_upload_link(file_bytes_max=1000, bytes_max=1500, files_max=2)
        await put_upload_link(web.links, link)
        sender = await Sender.claim(web, link)
        large = sealed_file(link, b"x" * 1001)
        assert (await sender.begin(large)).json == {"refused": "too large"}
        liar = await sender.begin(large, size=10)
        assert liar.status == 200, "what it is, the maker finds out"
        assert (await sender.put(large, 0, large.segments[0])).status == 500
        upload = web.links.uploads.find(link.made.link_id, large.upload_id)
        assert upload is not None
        assert web.links.uploads.path(upload.row).stat().st_size <= 26
        assert (await sender.begin(sealed_file(link, b"y" * 1000))).status == 200
        assert (await sender.begin(sealed_file(link, b""))).json == {"refused": "too many"}


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as web:
        link = make_upload_link()
        await put_upload_link(web.links, link)
        sender, sealed = await Sender.claim(web, link), sealed_file(link, b"x")
        path = f"{link.made.path}/uploads"
        ticket = {"X_Holdfast_Ticket": sender.ticket}
        for where, size in ((text_of(sealed.upload_id), "-1"), (text_of(sealed.upload_id), ""),
                            (text_of(sealed.upload_id), "9" * 13), ("x", "1")):  # fmt: skip
            answer = await web.ask(
                "PUT", f"{path}/{where}", sealed.head, X_Holdfast_Size=size, **ticket
            )
            assert answer.status == 400
        sealed.head = bytes(HEAD_SIZE_MAX + 1)
        assert (await sender.begin(sealed)).status == 409
        sealed.head = b"short"
        assert (await sender.begin(sealed)).status == 409
        assert (await sender.put(sealed, 0, b"x")).status == 404
        for segment in ("x", "-1", "9" * 14):
            where = f"{path}/{text_of(sealed.upload_id)}/{segment}"
            assert (await web.ask("PUT", where, b"x", **ticket)).status == 404


async def test_a_connection_that_breaks_costs_what_is_not_whole(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as web:
        link = make_upload_link()
        await put_upload_link(web.links, link)
        sender = await Sender.claim(web, link)
        sealed = sealed_file(link, os.urandom(3 * SEGMENT_SIZE))
        await sender.begin(sealed)
        body = b"".join(sealed.segments)
        await asyncio.to_thread(broken_off, web, sender, text_of(sealed.upload_id), body)
        async with asyncio.timeout(60):
            while (at := (await sender.begin(sealed)).json["at"]) == 0:
                await asyncio.sleep(0.05)
        assert at == 2
        rest = await sender.put(sealed, at, b"".join(sealed.segments[at:]))
        assert rest.json == {"at": 3, "whole": True}
        (row,) = web.links.uploads.waiting(link.made.link_id)
        assert web.links.uploads.read(row, 0, 1 << 30) == body


def broken_off(web: WebStage, sender: Sender, upload: str, body: bytes) -> None:
    """Sends two segments and a half of three, and hangs up."""
    connection = web.connect()
    connection.putrequest("PUT", f"{sender.link.made.path}/uploads/{upload}/0")
    connection.putheader("X-Holdfast-Ticket", sender.ticket)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[: int(2.5 * SEALED_SEGMENT_SIZE)])
    connection.close()


@pytest.mark.row("A39")
async def test_a_revocation_ends_an_upload_that_is_under_way(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as web:
        link = make_upload_link()
        await put_upload_link(web.links, link)
        sender = await Sender.claim(web, link)
        sealed = sealed_file(link, os.urandom(2 * SEGMENT_SIZE))
        await sender.begin(sealed)
        await sender.put(sealed, 0, sealed.segments[0])
        await web.links.links.revoke(link.made.link_id, link.made.key.revocation(5), 5)
        for answer in (await sender.begin(sealed), await sender.room(),
                       await web.claim(link.made)):  # fmt: skip
            assert (answer.status, answer.json) == (410, {"ended": "revoked"})
        upload = web.links.uploads.find(link.made.link_id, sealed.upload_id)
        assert upload is not None
        assert upload.row.state == UploadState.UNDER_WAY
        await web.links.uploads.sweep()
        assert list((tmp_path / "uploads").iterdir()) == []


def test_a_request_is_no_longer_than_a_relay_takes() -> None:
    page = (Path(__file__).parents[2] / "relay" / "page" / "upload_send.js").read_text()
    assert "SEGMENTS_MAX = 8;" in page
    assert SEGMENTS_PER_REQUEST >= 8


class By:
    """One sender's connection of HTTP/2 or 3."""

    def __init__(self, protocol: str, port: int, ticket: str) -> None:
        self._protocol, self._port, self._ticket = protocol, port, ticket

    async def put(
        self, path: str, body: bytes, *, is_last: bool = True, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of the answer; a status of 0 if it broke off."""
        request = asked("PUT", path, x_holdfast_ticket=self._ticket, **headers)
        if self._protocol == "2":
            return await asyncio.to_thread(self._put_by_2, request, body, is_last)
        async with visiting(self._port) as visitor:
            stream = visitor.begin(request, is_whole=False)
            visitor.send(stream, body, is_last=is_last)
            answer = await visitor.answer(stream).end()
            return 0 if answer.is_broken else answer.status, bytes(answer.body)

    def _put_by_2(
        self, request: list[tuple[str, str]], body: bytes, is_last: bool
    ) -> tuple[int, bytes]:
        with http2_to(self._port) as visitor:
            stream = visitor.begin(request, is_whole=False)
            visitor.send(stream, body, is_last=is_last)
            return visitor.end(stream)


@pytest.mark.row("A39")
@pytest.mark.parametrize("protocol", ["2", "3"])
async def test_by_each_protocol_files_come_in_and_limits_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Also for who lies about a length, and who never comes to an end."""
    async with web_stage(tmp_path, is_tls=True) as web:
        link = make_upload_link(file_bytes_max=SEGMENT_SIZE + 9, bytes_max=3 << 20, files_max=4)
        await put_upload_link(web.links, link)
        sender = await Sender.claim(web, link)
        by, found = By(protocol, web.port, sender.ticket), web.links.uploads.find

        async def begin(sealed: Sealed, size: int) -> tuple[int, bytes]:
            path = f"{link.made.path}/uploads/{text_of(sealed.upload_id)}"
            return await by.put(path, sealed.head, x_holdfast_size=str(size))

        async def put(sealed: Sealed, body: bytes, **headers: Any) -> int:
            path = f"{link.made.path}/uploads/{text_of(sealed.upload_id)}/0"
            return (await by.put(path, body, **headers))[0]

        def kept(sealed: Sealed) -> int:
            upload = found(link.made.link_id, sealed.upload_id)
            assert upload is not None
            return web.links.uploads.path(upload.row).stat().st_size

        whole = sealed_file(link, os.urandom(SEGMENT_SIZE + 9))
        assert (await begin(whole, whole.size))[0] == 200
        assert await put(whole, b"".join(whole.segments)) == 200
        (row,) = web.links.uploads.waiting(link.made.link_id)
        assert web.links.uploads.read(row, 0, 2 << 20) == b"".join(whole.segments)

        large = sealed_file(link, bytes(SEGMENT_SIZE + 10))
        assert await begin(large, large.size) == (413, b'{"refused":"too large"}')
        assert (await begin(large, 10))[0] == 200
        assert await put(large, b"".join(large.segments)) in (0, 500)
        assert kept(large) <= 26

        liar = sealed_file(link, b"ten bytes.")
        assert (await begin(liar, 10))[0] == 200
        assert await put(liar, bytes(40_000), content_length="26") in (0, 500)
        assert kept(liar) <= 26
        monkeypatch.setattr(web_uploads, "STALL_S", 0.3)
        path = f"{link.made.path}/uploads/{text_of(liar.upload_id)}/0"
        assert (await by.put(path, liar.segments[0][:9], is_last=False))[0] in (0, 500)
        monkeypatch.setattr(web_uploads, "STALL_S", 60.0)
        assert await put(liar, liar.segments[0]) == 200, "it is gone on with"
        assert (await begin(sealed_file(link, b"a"), 1))[0] == 200
        assert await begin(sealed_file(link, b"b"), 1) == (413, b'{"refused":"too many"}')


async def test_who_dribbles_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then holds no request open: all of it has to come in a bounded time."""
    monkeypatch.setattr(web_uploads, "STALL_S", 0.5)
    monkeypatch.setattr(web_uploads, "SLOWEST_BYTES_S", 1 << 30)
    async with web_stage(tmp_path) as web:
        link = make_upload_link()
        await put_upload_link(web.links, link)
        sender = await Sender.claim(web, link)
        sealed = sealed_file(link, bytes(10_000))
        await sender.begin(sealed)
        reader, writer = await asyncio.open_connection(LOOPBACK, web.port)
        head = (
            f"PUT {link.made.path}/uploads/{text_of(sealed.upload_id)}/0 HTTP/1.1\r\nHost: a\r\n"
            f"Content-Length: 10016\r\nX-Holdfast-Ticket: {sender.ticket}\r\n\r\n"
        )
        writer.write(head.encode())
        answered = asyncio.get_running_loop().create_task(reader.read())
        sent = 0
        async with asyncio.timeout(60):
            while not answered.done():
                writer.write(b"x")
                sent += 1
                await asyncio.wait([answered], timeout=0.01)
        assert b" 500 " in answered.result()
        assert sent < 10_016, "it did not come to its end"
        writer.close()
