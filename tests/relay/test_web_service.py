"""The endpoint as a relay runs it: what its settings may say."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from typing import Any

import pytest

from relay.config import RelayConfig, with_web
from relay.errors import AddressInUse, BadConfig
from relay.ports import listen
from relay.web_service import _base, listen_for_visitors
from tests.peer.link_stage import link_relaying
from tests.relay.relay_stage import LOOPBACK


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"web": ("0.0.0.0", 0)}, "Without TLS"),
        ({"web": ("192.0.2.1", 0)}, "Without TLS"),
        ({"web": (LOOPBACK, 0), "web_certificate": "/a"}, "together"),
        ({"web": (LOOPBACK, 0), "web_key": "/a"}, "together"),
    ],
)
def test_what_would_expose_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        listen_for_visitors(RelayConfig(**settings))


def test_without_an_address_there_is_none_and_a_taken_one_is_told() -> None:
    assert listen_for_visitors(RelayConfig()) is None
    taken = listen(LOOPBACK, 0)
    try:
        with pytest.raises(AddressInUse, match="share links"):
            listen_for_visitors(RelayConfig(web=(LOOPBACK, taken.getsockname()[1])))
    finally:
        taken.close()


@pytest.mark.parametrize(
    ("host", "port", "is_tls", "base"),
    [
        ("a.example", 443, True, "https://a.example"),
        ("a.example", 8443, True, "https://a.example:8443"),
        ("::1", 80, False, "http://[::1]:80"),
    ],
)
def test_what_urls_begin_with(host: str, port: int, is_tls: bool, base: str) -> None:
    assert _base(host, port, is_tls=is_tls) == base


def test_the_command_line_names_another_place() -> None:
    config = with_web(RelayConfig(), "127.0.0.1:8080")
    assert config.web == ("127.0.0.1", 8080)
    assert with_web(config, "[::1]:0").web == ("::1", 0)
    for wrong in ("", "8080x", "example.org:1", "127.0.0.1:99999"):
        with pytest.raises(BadConfig, match="--web"):
            with_web(config, wrong)


async def test_it_serves_the_page_until_it_is_told_to_stop(tmp_path: Path) -> None:
    async with link_relaying(tmp_path, web_url="https://share.example") as stage:
        assert stage.base == "https://share.example"
    async with link_relaying(tmp_path / "other") as stage:

        def ask() -> int:
            connection = http.client.HTTPConnection(stage.base.removeprefix("http://"), timeout=60)
            connection.request("GET", "/s/" + "A" * 22)
            status = connection.getresponse().status
            connection.close()
            return status

        assert await asyncio.to_thread(ask) == 200


async def test_visitors_are_held_to_the_settings(tmp_path: Path) -> None:
    async with link_relaying(tmp_path, web_requests_per_second=1) as stage:

        def ask() -> list[int]:
            connection = http.client.HTTPConnection(stage.base.removeprefix("http://"), timeout=60)
            statuses = []
            for _ in range(61):
                connection.request("GET", "/s/-/none")
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()
            return statuses

        assert await asyncio.to_thread(ask) == [404] * 60 + [429]
