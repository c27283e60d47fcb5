"""Share links as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.share_url import BadShareUrl, ShareUrl, text_of

ID, SECRET = bytes(range(16)), bytes(range(32))
GOOD = f"https://relay.example.org/s/{text_of(ID)}#{text_of(SECRET)}"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read(link_id: bytes, secret: bytes) -> None:
    url = ShareUrl("https://[2001:db8::1]:8443", link_id, secret)
    assert ShareUrl.parse(f"  {url}\n") == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.removesuffix("8"),
        GOOD + "A",
        GOOD[:-1] + "9",  # bits that stand for nothing
        GOOD.replace("#", ""),
        GOOD.replace("https", "http"),
        GOOD.replace("https", "ftp"),
        GOOD.replace("/s/", "/t/"),
        GOOD.replace("#", "?a#"),
        GOOD.replace("relay.example.org", "user:pass@relay.example.org"),
        GOOD.replace("relay.example.org", "relay.example.org:0"),
        GOOD.replace("relay.example.org", "relay.example.org:99999"),
        GOOD.replace("relay.example.org", ""),
        GOOD.replace("relay", "rélay"),
        "https://[::1/s/" + GOOD.split("/s/")[1],
        GOOD + "x" * 400,
    ],
)
def test_nothing_else_is_a_share_link(text: str) -> None:
    with pytest.raises(BadShareUrl, match="share link"):
        ShareUrl.parse(text)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:80"])
def test_without_tls_it_is_one_of_this_machine(host: str) -> None:
    text = GOOD.replace("https", "http").replace("relay.example.org", host)
    assert str(ShareUrl.parse(text)) == text


@pytest.mark.row("A37")
def test_the_repr_shows_no_secret() -> None:
    assert text_of(SECRET) not in repr(ShareUrl.parse(GOOD))
    assert repr(SECRET) not in repr(ShareUrl.parse(GOOD))
