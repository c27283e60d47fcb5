"""UPnP's documents: what routers send is read, what somebody on the network makes up is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.mapped_port import PortRefused
from protocol.upnp import (
    DEPTH_MAX,
    DOCUMENT_MAX,
    ELEMENTS_MAX,
    SERVICES,
    Service,
    UpnpRefused,
    ask_external,
    ask_mapping,
    ask_removal,
    check_url,
    read_answer,
    read_description,
    read_external,
    read_search_answer,
    search_request,
)

ROUTER = "10.0.0.1"
LOCATION = "http://10.0.0.1:5000/rootDesc.xml"
SERVICE = Service(SERVICES[1], "http://10.0.0.1:5000/ctl/IPConn")


def found(location: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nST: x\r\nLocation: {location}\r\n\r\n".encode()


def description(kind: str = SERVICES[1], control: str = "/ctl/IPConn", head: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{head}<root xmlns="urn:schemas-upnp-org:device-1-0"><device>'
        "<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1"
        "</serviceType><controlURL>/ctl/L3F</controlURL></service>"
        f"<service><serviceType>{kind}</serviceType><SCPDURL>/WANIPCn.xml</SCPDURL>"
        f"<controlURL>{control}</controlURL></service></serviceList></device></root>"
    ).encode()


def test_the_search_is_one_datagram_with_what_it_looks_for() -> None:
    lines = search_request().split(b"\r\n")
    assert lines[0] == b"M-SEARCH * HTTP/1.1"
    assert b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1" in lines
    assert lines[-2:] == [b"", b""]


def test_a_router_is_found() -> None:
    assert read_search_answer(found(LOCATION), ROUTER) == LOCATION


@pytest.mark.row("A32")
@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.66:5000/rootDesc.xml",
        "http://10.0.0.1.evil.example/",
        "http://evil@10.0.0.1/",
        "http://10.0.0.1@evil.example/",
        "https://10.0.0.1/",
        "file:///etc/passwd",
        "http://10.0.0.1:99999/",
        "http://10.0.0.1:0/",
        "http://10.0.0.1/a b",
        "http://[::1/",
        "//10.0.0.1/",
        "http://10.0.0.1/" + "a" * 600,
        "",
    ],
)
def test_a_location_that_is_not_the_routers_is_refused(location: str) -> None:
    with pytest.raises(Malformed):
        read_search_answer(found(location), ROUTER)
    with pytest.raises(Malformed):
        check_url(location, ROUTER)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 404 no\r\n\r\n", found(LOCATION)[:30],
                                    found(LOCATION) + bytes(2048)])  # fmt: skip
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(Malformed):
        read_search_answer(answer, ROUTER)


@pytest.mark.parametrize("control", ["/ctl/IPConn", "ctl/IPConn", SERVICE.url])
def test_a_description_tells_the_service(control: str) -> None:
    assert read_description(description(control=control), LOCATION, ROUTER) == SERVICE


def test_the_better_service_is_chosen() -> None:
    document = description(SERVICES[2]).replace(
        b"<serviceList>",
        f"<serviceList><service><serviceType>{SERVICES[0]}</serviceType>"
        "<controlURL>/two</controlURL></service>".encode(),
    )
    assert read_description(document, LOCATION, ROUTER) == Service(
        SERVICES[0], "http://10.0.0.1:5000/two"
    )


@pytest.mark.row("A32", "A31")
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<root>",
        description("urn:other:service:1"),
        description(control="http://10.0.0.66/ctl"),
        description(control="file:///etc/passwd"),
        description(head='<!DOCTYPE root [<!ENTITY a "b">]>'),
        description(head='<!DOCTYPE root SYSTEM "file:///etc/passwd">'),
        b'<?xml version="1.0" encoding="no-such-code"?><root/>',
        b"<a>" * (DEPTH_MAX + 1) + b"</a>" * (DEPTH_MAX + 1),
        b"<r>" + b"<a/>" * (ELEMENTS_MAX + 1) + b"</r>",
        b"<r>" + b" " * DOCUMENT_MAX + b"</r>",
        b"<root><URLBase>http://10.0.0.66/</URLBase></root>",
    ],
)
def test_a_description_of_somebody_else_or_without_bounds_is_refused(document: bytes) -> None:
    with pytest.raises(Malformed):
        read_description(document, LOCATION, ROUTER)


def test_requests_name_what_they_ask_for() -> None:
    name, body = ask_mapping(SERVICE, "10.0.0.2", 22330, 22331, 3600)
    assert name == f'"{SERVICES[1]}#AddPortMapping"'.encode()
    for part in (
        b"<NewInternalClient>10.0.0.2</",
        b"<NewExternalPort>22331</",
        b"<NewInternalPort>22330</",
        b"<NewLeaseDuration>3600</",
        b"<NewProtocol>UDP</",
    ):
        assert part in body
    assert b"<NewExternalPort>22331</" in ask_removal(SERVICE, 22331)[1]
    assert b"GetExternalIPAddress" in ask_external(SERVICE)[0]


def answer(inner: str) -> bytes:
    return f'<s:Envelope xmlns:s="x"><s:Body>{inner}</s:Body></s:Envelope>'.encode()


def test_answers() -> None:
    values = read_answer(200, answer("<NewExternalIPAddress>11.0.0.10</NewExternalIPAddress>"))
    assert read_external(values) == "11.0.0.10"
    assert read_answer(200, b"") == {}


@pytest.mark.parametrize("code", [606, 718, 725, 9999])
def test_a_refusal_bears_its_code(code: int) -> None:
    with pytest.raises(UpnpRefused) as refused:
        read_answer(500, answer(f"<errorCode>{code}</errorCode>"))
    assert refused.value.code == code
    assert str(refused.value)


@pytest.mark.parametrize("inner", ["", "<errorCode>-1</errorCode>", "<errorCode>12345</errorCode>",
                                   "<errorCode>\u0661</errorCode>"])  # fmt: skip
def test_an_error_that_is_none_is_malformed(inner: str) -> None:
    with pytest.raises(Malformed):
        read_answer(500, answer(inner))


@pytest.mark.parametrize("host", ["", "localhost", "::1", "1.2.3", "01.2.3.4"])
def test_an_outside_that_is_no_address_is_malformed(host: str) -> None:
    with pytest.raises(Malformed):
        read_external({"NewExternalIPAddress": host})


@pytest.mark.row("A32")
@given(st.binary(max_size=300))
def test_no_bytes_do_anything_else(data: bytes) -> None:
    for read in (
        lambda: read_search_answer(data, ROUTER),
        lambda: read_search_answer(b"HTTP/1.1 200 OK\r\nLOCATION:" + data, ROUTER),
        lambda: read_description(data, LOCATION, ROUTER),
        lambda: read_answer(200, data),
        lambda: read_answer(500, data),
    ):
        with contextlib.suppress(Malformed, PortRefused):
            read()
