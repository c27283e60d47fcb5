"""A real endpoint answers as the document says, whatever it is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from relay import share_links
from relay.web_files import PageFiles
from relay.web_openapi import document
from tests.relay.upload_stage import Sealed, make_upload_link, put_upload_link, sealed_file
from tests.relay.web_stage import Answer, Made, WebStage, text_of, web_stage

DOCUMENT = document("0")
CASES = 15
"""Requests of each kind."""
ALWAYS = ("referrer-policy", "x-content-type-options", "content-security-policy", "cache-control")


@pytest.mark.row("A38")
@pytest.mark.row("A39")
async def test_the_endpoint_answers_as_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fewer, so that both a wrong token and too many of them are among what is answered.
    monkeypatch.setattr(share_links, "WRONG_TOKENS_PER_MINUTE", 8)
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    statuses: set[int] = set()
    async with web_stage(tmp_path, files=PageFiles.load()) as stage:
        made = await stage.links.made(packs=(4,))
        ticket, unused = await stage.ticket(made), await stage.ticket(made)
        upload = make_upload_link(bytes_max=1000)
        await put_upload_link(stage.links, upload)
        sender = await stage.ticket(upload.made)
        file = sealed_file(upload, b"some bytes", upload_id=bytes(16))
        begun = await begin(stage, upload.made, sender, file)
        assert begun.json == {"at": 0, "whole": False}
        large = replace(file, upload_id=b"l" * 16, size=2000)
        assert (await begin(stage, upload.made, sender, large)).json == {"refused": "no room"}
        other = await begin(stage, upload.made, sender, replace(file, size=11))
        assert other.status == 409, "the id is taken"
        for result in schema.get_all_operations():
            operation: Any = getattr(result, "ok")()  # noqa: B009 - an Err has none, and fails here
            for number, case in enumerate(cases_of(operation)):
                # Some of it is of a link that is there, for what is only refused is no test.
                is_upload = "uploads" in operation.path
                there = (upload.made, sender) if is_upload else (made, ticket)
                if operation.method == "delete":  # the ticket is to stay
                    there = (made, text_of(bytes(16)))
                answer = await send(stage, case, there[0] if number % 3 else None, there[1])
                check(operation, answer)
                statuses.add(answer.status)
        # What is made up differs with what this process has imported, so this is not left to it.
        for span, status in (("bytes=0-65535", 206), ("bytes=99999999-", 416)):
            answer = await stage.ask("GET", made.pack_path(), X_Holdfast_Ticket=ticket, Range=span)
            assert answer.status == status, "who downloads is not troubled"
            check(described_by(schema, "/pack/"), answer)
            statuses.add(status)
            assert status != 206 or len(answer.body) == 65536
        for given, status in ((unused, 204), (unused, 404), (ticket, 409)):
            answer = await stage.give_back(made, given)
            assert answer.status == status
            check(described_by(schema, "/claim", "delete"), answer)
        assert (await begin(stage, upload.made, sender, file)).status == 200, "nor is who sends"
    assert statuses >= {200, 206, 404, 416, 429}


def described_by(schema: Any, part: str, method: str = "get") -> Any:
    """The operation whose path has this in it."""
    operations = [getattr(result, "ok")() for result in schema.get_all_operations()]  # noqa: B009
    (found,) = [one for one in operations if part in one.path and one.method == method]
    return found


async def begin(stage: WebStage, made: Made, ticket: str, file: Sealed) -> Answer:
    headers = {"X_Holdfast_Ticket": ticket, "X_Holdfast_Size": str(file.size)}
    path = f"{made.path}/uploads/{text_of(file.upload_id)}"
    return await stage.ask("PUT", path, file.head, **headers)


def cases_of(operation: Any) -> list[Any]:
    """Requests that the document allows."""
    found: list[Any] = []

    @settings(
        max_examples=CASES, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(operation.as_strategy())
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


async def send(stage: WebStage, case: Any, made: Made | None, ticket: str) -> Answer:
    headers = {str(name): str(value) for name, value in (case.headers or {}).items()}
    path: str = case.formatted_path
    if made is not None:
        path = path.replace(case.path_parameters.get("link", "\0"), text_of(made.link_id))
        if made.packs:
            path = path.replace(case.path_parameters.get("pack", "\0"), text_of(made.packs[0]))
        elif len(headers.get("X-Holdfast-Size", "")) % 2:
            path = path.replace(case.path_parameters.get("upload", "\0"), text_of(bytes(16)))
        if "X-Holdfast-Ticket" in headers:
            headers["X-Holdfast-Ticket"] = ticket
    if "Range" in headers and made is not None and len(headers["Range"]) % 2:
        headers["Range"] = "bytes=65536-131071"
    body = case.body if isinstance(case.body, bytes) else str(case.body).encode()
    return await stage.ask(
        case.method, path, body if case.method in ("POST", "PUT") else b"", **headers
    )


def check(operation: Any, answer: Answer) -> None:
    """The answer is one that the document describes, with the headers that all have."""
    described = operation.definition.raw["responses"]
    assert str(answer.status) in described, (operation.path, answer.status)
    assert all(name in answer.headers for name in ALWAYS)
    content = described[str(answer.status)].get("content")
    if content is not None:
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type in content
        if media_type == "application/json":
            jsonschema_rs.validate(content[media_type]["schema"], json.loads(answer.body))


async def test_every_route_of_a_visitor_is_described(tmp_path: Path) -> None:
    described = set(DOCUMENT["paths"])
    async with web_stage(tmp_path, files=PageFiles.load()) as stage:
        made = await stage.links.made()
        for path in described:
            asked = path.format(
                link=text_of(made.link_id), pack=text_of(bytes(32)), name="page.js", version="0",
                upload=text_of(bytes(16)), segment="0",
            )  # fmt: skip
            verb = next(iter(DOCUMENT["paths"][path])).upper()
            other = "GET" if verb == "POST" else "POST"
            assert (await stage.ask(other, asked)).status == 405, path
