"""The endpoint over real sockets: what a visitor may have, and each thing a hostile one may try."""

from __future__ import annotations

import asyncio
import os
from hashlib import sha256
from pathlib import Path
from threading import Event

import pytest

from crypto.packs import LEAF_SIZE
from crypto.share_links import open_link
from relay.web_files import PageFiles
from tests.relay.web_stage import Answer, WebStage, text_of, web_stage

PAGE = PageFiles(
    {
        "index.html": b"<!doctype html><script type=module src=/s/-/@VERSION@/app.js></script>",
        "app.js": b"import './other.js'",
        "sw.js": b"//",
        "notes.exe": b"MZ",
    }
)
ALWAYS = {
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex, nofollow",
    "permissions-policy": (
        "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    ),
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'"
    " blob:; media-src blob:; connect-src 'self'; worker-src 'self'; frame-src 'self' blob:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def check_headers(answer: Answer, *, policy: str = DATA_POLICY, cache: str = "no-store") -> None:
    for name, value in ALWAYS.items():
        assert answer.headers[name] == value
    assert answer.headers["content-security-policy"] == policy
    assert answer.headers["cache-control"] == cache
    for name in ("server", "set-cookie", "access-control-allow-origin"):
        assert name not in answer.headers


@pytest.mark.row("A38")
async def test_every_answer_has_its_headers_exactly(tmp_path: Path) -> None:
    async with web_stage(tmp_path, files=PAGE) as stage:
        made = await stage.links.made()
        ticket = await stage.ticket(made)
        page = await stage.ask("GET", made.path)
        assert page.status == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        check_headers(page, policy=PAGE_POLICY)
        cut_off = await stage.ask("GET", made.path[:-1])
        assert (cut_off.status, cut_off.body) == (404, page.body), "a person reads what is wrong"
        check_headers(cut_off, policy=PAGE_POLICY)
        script = await stage.ask("GET", "/s/-/app.js")
        check_headers(script, policy=PAGE_POLICY, cache="no-cache")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        answers = [
            await stage.ask("GET", f"{made.path}/head"),
            await stage.claim(made),
            await stage.claim(made, os.urandom(32)),
            await stage.range(made, ticket, 0, LEAF_SIZE),
            await stage.range(made, ticket, 1, LEAF_SIZE),
            await stage.range(made, text_of(bytes(16)), 0, LEAF_SIZE),
            await stage.ask("GET", "/"),
            await stage.ask("PUT", f"{made.path}/claim"),
            await stage.ask("GET", "/s/-/nothing.js"),
        ]
        assert [a.status for a in answers] == [200, 200, 404, 206, 416, 404, 404, 405, 404]
        for answer in answers:
            check_headers(answer)


@pytest.mark.row("A40")
async def test_the_page_s_files_are_served_as_they_lie(tmp_path: Path) -> None:
    async with web_stage(tmp_path, files=PAGE) as stage:
        page = await stage.ask("GET", "/s/" + "A" * 22)
        assert f"/s/-/{PAGE.version}/app.js".encode() in page.body
        plain = await stage.ask("GET", "/s/-/app.js")
        assert plain.body == b"import './other.js'"
        known = plain.headers["etag"]
        again = await stage.ask("GET", "/s/-/app.js", If_None_Match=known)
        assert (again.status, again.body) == (304, b"")
        fixed = await stage.ask("GET", f"/s/-/{PAGE.version}/app.js")
        assert fixed.headers["cache-control"] == "public, max-age=31536000, immutable"
        worker = await stage.ask("GET", "/s/-/sw.js")
        assert worker.headers["service-worker-allowed"] == "/s/"
        for path in ("/s/-/index.html", "/s/-/notes.exe", "/s/-/0123456789abcdef/app.js"):
            assert (await stage.ask("GET", path)).status == 404
        for path in ("/s/-/../../relay.db", "/s/-/%2e%2e/relay.key", "/s/-/..%2frelay.key"):
            assert (await stage.ask("GET", path)).status == 404


async def test_a_visitor_with_the_secret_gets_manifest_and_bytes(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        made = await stage.links.made(packs=(3, 1))
        head = (await stage.ask("GET", f"{made.path}/head")).json
        salt = text_of(made.secrets.password_salt)
        assert head == {"version": 1, "flags": 0, "salt": salt}
        claimed = await stage.claim(made)
        assert open_link(made.link_id, made.secrets, claimed.body) == b"a manifest"
        ticket = claimed.headers["x-holdfast-ticket"]
        pack = stage.links.packs.packs[made.packs[0]]
        answer = await stage.range(made, ticket, LEAF_SIZE, 3 * LEAF_SIZE)
        assert answer.status == 206
        assert answer.body == pack[LEAF_SIZE:]
        length = len(pack)
        assert answer.headers["content-range"] == f"bytes {LEAF_SIZE}-{length - 1}/{length}"
        assert (await stage.range(made, ticket, 0, LEAF_SIZE, at=1)).status == 206
        only_head = await stage.ask(
            "HEAD", made.pack_path(), X_Holdfast_Ticket=ticket, Range=f"bytes=0-{LEAF_SIZE - 1}"
        )
        assert (only_head.status, only_head.body) == (206, b"")
        assert only_head.headers["content-length"] == str(LEAF_SIZE)


@pytest.mark.row("A39")
async def test_unknown_ended_and_present_look_alike_to_a_stranger(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        present, ended = await stage.links.made(), await stage.links.made()
        signature = ended.key.revocation(7)
        assert await stage.links.links.revoke(ended.link_id, signature, 7)
        never = stage.links.make()
        answers = []
        for made in (present, ended, never):
            page = await stage.ask("GET", made.path)
            head = await stage.ask("GET", f"{made.path}/head")
            wrong = await stage.claim(made, os.urandom(32))
            pack = await stage.range(made, text_of(os.urandom(16)), 0, LEAF_SIZE)
            for answer in (page, head, wrong, pack):
                answer.headers.pop("date")
            assert set(head.json) == {"version", "flags", "salt"}
            assert len(head.json["salt"]) == 22
            again = await stage.ask("GET", f"{made.path}/head")
            assert again.body == head.body
            answers.append([page, (head.status, head.headers, head.json["flags"]), wrong, pack])
        assert answers[0] == answers[1] == answers[2]


@pytest.mark.row("A39")
async def test_a_revocation_ends_what_is_being_had(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        made = await stage.links.made(packs=(40,))
        ticket = await stage.ticket(made)
        assert (await stage.range(made, ticket, 0, LEAF_SIZE)).status == 206
        assert len(stage.links.blobs()) == 1
        assert await stage.links.links.revoke(made.link_id, made.key.revocation(9), 9)
        for answer in (
            await stage.range(made, ticket, 0, LEAF_SIZE),
            await stage.claim(made),
        ):
            assert (answer.status, answer.json) == (410, {"ended": "revoked"})
        assert stage.links.blobs() == []


@pytest.mark.row("A39")
async def test_an_answer_that_is_under_way_breaks_off_when_the_link_ends(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        made = await stage.links.made(packs=(256,))
        ticket = await stage.ticket(made)
        size = 256 * LEAF_SIZE
        began, proceed = Event(), Event()

        def begin() -> tuple[int, bytes]:
            connection = stage.connect()
            span = {"X-Holdfast-Ticket": ticket, "Range": f"bytes=0-{size - 1}"}
            connection.request("GET", made.pack_path(), headers=span)
            response = connection.getresponse()
            began.set()
            proceed.wait(60)
            data = b""
            try:
                while piece := response.read1(1 << 20):
                    data += piece
            except OSError:
                pass
            connection.close()
            return response.status, data

        reading = asyncio.get_running_loop().run_in_executor(None, begin)
        await asyncio.to_thread(began.wait, 60)
        await stage.links.links.revoke(made.link_id, made.key.revocation(9), 9)
        proceed.set()
        status, data = await reading
        assert status == 206
        assert len(data) < size  # the sockets had buffered some of it


@pytest.mark.row("A39")
async def test_guessing_is_stopped_after_ten_wrong_tokens(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        made, other = await stage.links.made(), await stage.links.made()
        for _ in range(10):
            assert (await stage.claim(made, os.urandom(32))).status == 404
        for token in (os.urandom(32), made.token):
            answer = await stage.claim(made, token)
            assert (answer.status, answer.json) == (429, {"wait": "attempts"})
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert (await stage.claim(other)).status == 429
        stage.links.clock.now += 60
        assert (await stage.claim(made)).status == 200


@pytest.mark.row("A39")
async def test_a_ticket_is_good_for_its_own_link_alone(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        made, other = await stage.links.made(), await stage.links.made()
        ticket, others = await stage.ticket(made), await stage.ticket(other)
        assert (await stage.range(made, others, 0, LEAF_SIZE)).status == 404
        # A pack of another link, by a path that names this one.
        path = f"{made.path}/pack/{text_of(other.packs[0])}"
        span = f"bytes=0-{LEAF_SIZE - 1}"
        answer = await stage.ask("GET", path, X_Holdfast_Ticket=ticket, Range=span)
        assert answer.status == 404
        assert (await stage.ask("GET", made.pack_path(), Range=span)).status == 404
        for wrong in ("", "A" * 21, "A" * 23, "=" * 22, "/" * 22, ticket[:-1] + "/"):
            assert (await stage.range(made, wrong, 0, LEAF_SIZE)).status == 404


@pytest.mark.row("A39")
async def test_a_download_that_was_not_used_is_given_back_by_its_ticket_alone(
    tmp_path: Path,
) -> None:
    async with web_stage(tmp_path) as stage:
        made, other = await stage.links.made(downloads_max=1), await stage.links.made()
        ticket, others = await stage.ticket(made), await stage.ticket(other)
        assert (await stage.claim(made)).json == {"wait": "taken"}
        for wrong in (others, "", "A" * 22, ticket[:-1]):
            assert (await stage.give_back(made, wrong)).status == 404
        assert (await stage.claim(made)).status == 429
        answer = await stage.give_back(made, ticket)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["cache-control"] == "no-store"
        ticket = await stage.ticket(made)
        assert (await stage.range(made, ticket, 0, LEAF_SIZE)).status == 206
        assert (await stage.give_back(made, ticket)).status == 409


@pytest.mark.parametrize(
    "span",
    [
        "bytes=0-0",
        "bytes=1-65536",
        "bytes=0-65534",
        "bytes=65536-65535",
        "bytes=0-196607",
        "bytes=131072-196607",
        "bytes=0-",
        "bytes=-65536",
        "bytes=0-65535,65536-131071",
        "bytes=0-99999999999999999999",
        "leaves=0-1",
        "bytes=\u00b9-65535",
        "",
    ],
)
async def test_ranges_off_the_grid_are_refused(tmp_path: Path, span: str) -> None:
    async with web_stage(tmp_path) as stage:
        made = await stage.links.made(packs=(2,))
        ticket = await stage.ticket(made)
        if span:
            answer = await stage.ask("GET", made.pack_path(), X_Holdfast_Ticket=ticket, Range=span)
        else:
            answer = await stage.ask("GET", made.pack_path(), X_Holdfast_Ticket=ticket)
        assert answer.status == 416
        assert answer.headers["content-range"] == f"bytes */{2 * LEAF_SIZE}"
        assert stage.links.packs.reads == []


async def test_a_pack_that_is_not_to_be_had_is_said(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        made = await stage.links.made()
        ticket = await stage.ticket(made)
        stage.links.packs.is_away = True
        answer = await stage.range(made, ticket, 0, LEAF_SIZE)
        assert (answer.status, answer.headers["retry-after"]) == (503, "30")
        stage.links.packs.packs.clear()
        assert (await stage.range(made, ticket, 0, LEAF_SIZE)).status == 503


@pytest.mark.parametrize("size", [0, 31, 33, 5000])
async def test_a_token_of_another_length_is_a_wrong_one(tmp_path: Path, size: int) -> None:
    async with web_stage(tmp_path) as stage:
        made = await stage.links.made()
        assert (await stage.claim(made, (made.token * 200)[:size])).status == 404


async def test_behind_a_proxy_the_last_address_counts(tmp_path: Path) -> None:
    async with web_stage(tmp_path, is_behind_proxy=True) as stage:
        made = await stage.links.made()
        path = f"{made.path}/claim"
        for at in range(11):
            answer = await stage.ask(
                "POST", path, os.urandom(32), X_Forwarded_For=f"10.0.0.{at}, 192.0.2.1"
            )
        assert answer.status == 429
        answer = await stage.ask("POST", path, made.token, X_Forwarded_For="192.0.2.1, 192.0.2.2")
        assert answer.status == 200


@pytest.mark.row("A38")
async def test_the_log_holds_nothing_of_a_visit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with web_stage(tmp_path) as stage:
        made = await stage.links.made()
        ticket = await stage.ticket(made)
        await stage.range(made, ticket, 0, LEAF_SIZE)
        await stage.ask("GET", f"{made.path}?{text_of(made.secrets.secret)}")
    for word in (ticket, text_of(made.link_id), text_of(made.secrets.secret)):
        assert word not in caplog.text


async def test_over_tls_transport_security_is_asked_for(tmp_path: Path) -> None:
    async with web_stage(tmp_path, is_tls=True) as stage:
        made = await stage.links.made()
        page = await stage.ask("GET", made.path)
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        assert page.headers["alt-svc"] == f'h3=":{stage.port}"; ma=3600'
        ticket = await stage.ticket(made)
        answer = await stage.range(made, ticket, 0, 2 * LEAF_SIZE)
        data = stage.links.packs.packs[made.packs[0]]
        assert sha256(answer.body).digest() == sha256(data).digest()


async def many(stage: WebStage, count: int) -> list[int]:
    made = await stage.links.made(packs=(8,))
    ticket = await stage.ticket(made)
    asked = [stage.range(made, ticket, 0, 8 * LEAF_SIZE) for _ in range(count)]
    return [answer.status for answer in await asyncio.gather(*asked)]


async def test_many_ranges_at_once(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        assert set(await many(stage, 20)) == {206}
