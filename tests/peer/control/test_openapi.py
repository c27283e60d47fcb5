"""The document says what there is, and a real daemon answers as it says, whatever it is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from peer.control import control, control_files
from peer.control.openapi import OPERATIONS, document
from tests.peer.control.test_control import Reply
from tests.peer.control.test_control_files import ask
from tests.peer.device_stage import devices

DOCUMENT = document("0")
CASES = 4
"""Requests of each kind: most of the time goes into making them."""
NOT_ASKED = {"/api/daemon/stop", "/api/relays/add", "/api/events"}
"""What ends the daemon, asks the network, or goes on without end."""


def test_every_route_is_described_and_none_that_is_not_there() -> None:
    routes = {(method, path) for method, path, _ in (*control.ROUTES, *control_files.ROUTES)}
    routes |= {("GET", "/api/openapi.json"), ("GET", control.EVENTS_PATH)}
    routes.add(("GET", re.sub(r":\w+", "", control.FOLDER_PATH)))
    assert routes == set(OPERATIONS)


def test_ids_are_unique_and_references_lead_somewhere() -> None:
    ids = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(DOCUMENT)))
    assert names <= set(DOCUMENT["components"]["schemas"])
    assert "Problem" in names


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


def check(operation: Any, reply: Reply) -> None:
    """The answer is one that the document describes."""
    assert reply.status < 500 or reply.status in (501, 503), reply.body
    described = operation.definition.raw["responses"]
    wanted = described["200" if reply.status == 200 else "default"]["content"]
    media_type = reply.headers["content-type"].partition(";")[0]
    assert media_type in wanted
    if "json" in media_type:
        schema = {**wanted[media_type]["schema"], "components": DOCUMENT["components"]}
        jsonschema_rs.validate(schema, json.loads(reply.body))


async def test_a_real_daemon_answers_as_the_document_says(tmp_path: Path) -> None:
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        (stage.root("one") / "note").write_bytes(b"note")
        await daemon.add_folder(stage.root("one"), "f")
        asked = answered = 0
        for result in schema.get_all_operations():
            operation: Any = getattr(result, "ok")()  # noqa: B009 - an Err has none, and fails here
            if operation.path in NOT_ASKED:
                continue
            for case in cases_of(operation):
                reply = await send(daemon, case)
                asked, answered = asked + 1, answered + (reply.status == 200)
                check(operation, reply)
        assert asked > 80
        assert answered > 10
        assert (stage.root("one") / "note").read_bytes() == b"note"


async def send(daemon: Any, case: Any) -> Reply:
    body, headers = b"", {}
    if case.method != "GET":
        headers["content_type"] = case.media_type or "application/json"
        if isinstance(case.body, bytes):
            body = case.body
        elif case.media_type == "application/json":
            body = json.dumps(case.body).encode()
    query = urlencode(
        {k: str(v).lower() if isinstance(v, bool) else v for k, v in (case.query or {}).items()}
    )
    return await ask(daemon, case.method, case.formatted_path, body, query, **headers)


async def test_the_daemon_gives_the_document_and_a_folder_by_its_id(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        made = await daemon.add_folder(stage.root("one"), "f")
        told = await ask(daemon, "GET", "/api/openapi.json")
        assert json.loads(told.body)["paths"] == DOCUMENT["paths"]
        folder = await ask(daemon, "GET", f"/api/folders/{made['id']}")
        assert folder.content["name"] == "f"
        assert (await ask(daemon, "GET", f"/api/folders/{'0' * 64}")).status == 404


@pytest.mark.parametrize("path", sorted({path for _, path in OPERATIONS}))
def test_every_operation_says_what_it_does(path: str) -> None:
    for operation in DOCUMENT["paths"][path].values():
        assert operation["summary"]
        assert "default" in operation["responses"]
