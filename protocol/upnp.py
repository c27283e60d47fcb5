"""UPnP Internet Gateway Device, the part that opens a UDP port. No I/O.

Everything that is read here comes from whoever answers on the local network. So a location counts
only on the router's own address, XML is bounded and has no document type (and with that no
entities), and of what it says four things are used: a path, an address, a number and an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final
from urllib.parse import urljoin, urlsplit
from xml.parsers import expat
from xml.sax.saxutils import escape

from protocol.errors import Malformed
from protocol.mapped_port import PortRefused

SEARCHED_AT: Final = ("239.255.255.250", 1900)
DEVICE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
SERVICES: Final = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
"""The best first."""
DATAGRAM_MAX: Final = 2048
DOCUMENT_MAX: Final = 64 << 10
DEPTH_MAX: Final = 24
ELEMENTS_MAX: Final = 4096
URL_MAX: Final = 512
TEXT_MAX: Final = 1024
DESCRIPTION: Final = "holdfast"
PERMANENT_ONLY: Final = 725
CONFLICT: Final = 718
REFUSALS: Final = {
    606: "the router lets nobody open ports",
    CONFLICT: "another device has that port",
    PERMANENT_ONLY: "the router opens ports for ever only",
    728: "the router has no port left",
}


@dataclass(frozen=True, slots=True)
class Service:
    """Where a router takes requests, and in which of the forms."""

    name: str
    url: str


class UpnpRefused(PortRefused):
    """The router said no, with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(REFUSALS.get(code, f"the router says UPnP error {code}"))
        self.code = code


def search_request() -> bytes:
    """Asks the network for its router."""
    return (
        "M-SEARCH * HTTP/1.1\r\n"
        f"HOST: {SEARCHED_AT[0]}:{SEARCHED_AT[1]}\r\n"
        'MAN: "ssdp:discover"\r\n'
        "MX: 1\r\n"
        f"ST: {DEVICE}\r\n\r\n"
    ).encode()


def read_search_answer(datagram: bytes, router: str) -> str:
    """The location that the router itself answers with; raises Malformed for any other."""
    if len(datagram) > DATAGRAM_MAX or not datagram.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        raise Malformed("no answer to a search")
    for line in datagram.split(b"\r\n")[1:64]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"location":
            return check_url(value.strip().decode("latin-1"), router)
    raise Malformed("no location")


def check_url(url: str, router: str) -> str:
    """An http URL on the router's own numeric address and nowhere else; raises Malformed."""
    if len(url) > URL_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise Malformed("no URL that is followed")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Malformed("no URL that is followed") from error
    has_login = parts.username is not None or parts.password is not None
    if parts.scheme != "http" or parts.hostname != router or port == 0 or has_login:
        raise Malformed("a URL that is not the router's")
    return url


class _Reader:
    """Expat with bounds; calls `on_text(path, text)` at the end of each element that has text."""

    def __init__(self) -> None:
        self.found: list[tuple[tuple[str, ...], str]] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._count = 0
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def read(self, document: bytes) -> list[tuple[tuple[str, ...], str]]:
        if len(document) > DOCUMENT_MAX:
            raise Malformed("a document beyond its bound")
        try:
            self._parser.Parse(document, True)
        except (expat.ExpatError, UnicodeError, ValueError, LookupError) as error:
            raise Malformed("no XML") from error
        return self.found

    def _refuse(self, *_: object) -> None:
        raise Malformed("XML with a document type")

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX or len(self._path) >= DEPTH_MAX:
            raise Malformed("XML beyond its bounds")
        self._path.append(name.rpartition(":")[2])
        self._text.clear()

    def _end(self, _: str) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        if text and len(text) <= TEXT_MAX:
            self.found.append((tuple(self._path), text))
        self._path.pop()

    def _characters(self, text: str) -> None:
        self._text.append(text)


def read_description(document: bytes, location: str, router: str) -> Service:
    """The best service of a router's description; raises Malformed."""
    found: dict[str, str] = {}
    base = location
    kind: str | None = None
    for path, text in _Reader().read(document):
        match path[-1]:
            case "URLBase":
                base = check_url(text, router)
            case "serviceType":
                kind = text
            case "controlURL" if kind in SERVICES:
                found.setdefault(kind, text)
                kind = None
    for name in SERVICES:
        if name in found:
            return Service(name, check_url(urljoin(base, found[name]), router))
    raise Malformed("no service that opens ports")


def action(service: Service, name: str, **arguments: object) -> tuple[bytes, bytes]:
    """The SOAPAction header and the body of a request."""
    inner = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in arguments.items())
    body = (
        '<?xml version="1.0"?>'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
        f'<s:Body><u:{name} xmlns:u="{service.name}">{inner}</u:{name}></s:Body></s:Envelope>'
    )
    return f'"{service.name}#{name}"'.encode(), body.encode()


def ask_external(service: Service) -> tuple[bytes, bytes]:
    """Asks for the router's outside address."""
    return action(service, "GetExternalIPAddress")


def ask_mapping(
    service: Service, client: str, internal_port: int, external_port: int, lifetime_s: int
) -> tuple[bytes, bytes]:
    """Asks for a port."""
    return action(
        service, "AddPortMapping", NewRemoteHost="", NewExternalPort=external_port,
        NewProtocol="UDP", NewInternalPort=internal_port, NewInternalClient=client, NewEnabled=1,
        NewPortMappingDescription=DESCRIPTION, NewLeaseDuration=lifetime_s,
    )  # fmt: skip


def ask_removal(service: Service, external_port: int) -> tuple[bytes, bytes]:
    """Asks to close a port."""
    return action(
        service, "DeletePortMapping", NewRemoteHost="", NewExternalPort=external_port,
        NewProtocol="UDP",
    )  # fmt: skip


def read_answer(status: int, body: bytes) -> dict[str, str]:
    """What a router answers: its values by name; raises UpnpRefused or Malformed."""
    values = {path[-1]: text for path, text in _Reader().read(body)} if body else {}
    if status == 200:
        return values
    code = values.get("errorCode", "")
    if not (code.isascii() and code.isdecimal() and len(code) <= 4):
        raise Malformed(f"HTTP status {status}")
    raise UpnpRefused(int(code))


def read_external(values: dict[str, str]) -> str:
    """The outside address in an answer; raises Malformed."""
    try:
        return str(IPv4Address(values.get("NewExternalIPAddress", "")))
    except AddressValueError as error:
        raise Malformed("no outside address") from error
