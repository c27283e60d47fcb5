"""The recovery kit as it is printed: text for any printer, and a PDF with codes to be scanned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from peer.status import KitSheet

if TYPE_CHECKING:
    from fpdf import FPDF

GROUPS_IN_A_LINE: Final = 7
KIT_SCHEME: Final = "HOLDFAST-KIT:"
"""Begins what a kit's code says, so that a scanner's person knows what it is."""
_MARGIN_MM: Final = 20
_CODE_MM: Final = 45
_WHAT: Final = (
    "With these characters and one of the addresses below, `holdfast recover` brings back all your"
    " folders when all your devices are lost. So does whoever else has them: keep this sheet where"
    " you keep your passport. Up to four wrong or nine unreadable characters in each third of it"
    " are repaired; type ? for what you cannot read."
)


def kit_lines(kit: str) -> list[str]:
    """The 14 groups in two lines."""
    groups = kit.split()
    return [
        " ".join(groups[i : i + GROUPS_IN_A_LINE]) for i in range(0, len(groups), GROUPS_IN_A_LINE)
    ]


def as_text(sheet: KitSheet) -> list[str]:
    """The sheet in lines; `kit_input` reads it back."""
    return [
        "Holdfast recovery kit",
        "",
        *(f"    {line}" for line in kit_lines(sheet["kit"])),
        "",
        _WHAT,
        "",
        f"User: {sheet['user'][:16]}",
        *(f"Relay: {relay}" for relay in sheet["relays"]),
    ]


def as_pdf(sheet: KitSheet) -> bytes:
    """The sheet as one page, or more where there are many relays."""
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.set_title("Holdfast recovery kit")
    pdf.set_margin(_MARGIN_MM)
    pdf.add_page()
    pdf.set_font("Helvetica", "B", 18)
    pdf.cell(text="Holdfast recovery kit")
    pdf.ln(14)
    pdf.set_font("Courier", "B", 13)
    for line in kit_lines(sheet["kit"]):
        pdf.cell(text=line)
        pdf.ln(9)
    pdf.ln(2)
    pdf.set_font("Helvetica", "", 10)
    pdf.multi_cell(w=0, text=_WHAT)
    pdf.ln(6)
    top = pdf.get_y()
    _draw_code(pdf, KIT_SCHEME + sheet["kit"].replace(" ", ""), _MARGIN_MM, top)
    pdf.set_xy(_MARGIN_MM, top + _CODE_MM + 4)
    pdf.cell(text=f"User {sheet['user'][:16]}")
    pdf.ln(8)
    _write_relays(pdf, sheet["relays"])
    return bytes(pdf.output())


def _write_relays(pdf: FPDF, relays: Sequence[str]) -> None:
    pdf.set_font("Courier", "", 8)
    for relay in relays:
        pdf.multi_cell(w=0, text=relay)
        pdf.ln(1)


def _draw_code(pdf: FPDF, text: str, left: float, top: float) -> None:
    """A QR code of black squares: no image library is needed for them."""
    import segno

    matrix = segno.make_qr(text, error="M").matrix
    side = _CODE_MM / len(matrix)
    pdf.set_fill_color(0)
    for y, row in enumerate(matrix):
        for x, is_dark in enumerate(row):
            if is_dark:
                pdf.rect(left + x * side, top + y * side, side, side, style="F")
