"""The published hashes of the page's files: whoever is served the page can compare (A40).

python -m tests.relay.page_sums     writes relay/page/SHA256SUMS.txt, as sha256sum -c reads it
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

PAGE = Path(__file__).parents[2] / "relay" / "page"
SUMS = PAGE / "SHA256SUMS.txt"


def page_files() -> list[Path]:
    """Every file of the page, the list itself left out."""
    return sorted(path for path in PAGE.iterdir() if path != SUMS and path.is_file())


def sums() -> str:
    """The list as it has to be."""
    hashes = ((sha256(path.read_bytes()).hexdigest(), path.name) for path in page_files())
    return "".join(f"{hashed}  {name}\n" for hashed, name in hashes)


if __name__ == "__main__":
    SUMS.write_text(sums())
