"""What is printed holds the kit, the user and the relays, as a printer shows them."""

from __future__ import annotations

import re
import zlib

from peer.backup.kit_sheet import as_pdf, as_text, kit_lines
from peer.status import KitSheet
from protocol.kit import decode_kit, encode_kit

KIT = encode_kit(bytes(range(32)))
RELAY = "holdfast-relay://relay.example:443#" + "a" * 52
SHEET: KitSheet = {"kit": KIT, "user": "ab" * 32, "relays": [RELAY]}


def test_the_text_has_all() -> None:
    text = "\n".join(as_text(SHEET))
    assert all(line in text for line in kit_lines(KIT))
    assert decode_kit(" ".join(kit_lines(KIT))) == bytes(range(32))
    assert "Relay: " + RELAY in text
    assert "User: abababababababab" in text


def test_the_pdf_has_all_and_a_code() -> None:
    data = as_pdf(SHEET)
    assert data.startswith(b"%PDF-")
    pages = b"".join(
        zlib.decompress(stream)
        for stream in re.findall(rb"stream\n(.*?)\nendstream", data, re.DOTALL)
        if stream[:1] == b"\x78"
    ).decode("latin-1")
    for line in (*kit_lines(KIT), RELAY[:40]):
        assert line in pages.replace("\\(", "(").replace("\\)", ")"), line
    assert len(re.findall(r" re f\b", pages)) > 200  # the squares of the code
    assert len(data) < 100_000
