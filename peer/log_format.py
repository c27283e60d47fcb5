"""The daemon's log: where it goes, and how what other devices chose is kept from forging it."""

import logging
import re
from collections.abc import Iterable
from typing import Any, Final

from peer.command_line.terminal import term_safe

HIDDEN: Final = "(hidden)"
_SECRETS: Final = (
    re.compile(r"(?<=Bearer )\S+"),
    re.compile(r"(?<=hftoken-)[a-z2-7]+"),
    # 32 bytes in base64url: what is behind the # of a share link, and a token of this API.
    re.compile(r"(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z0-9])[\w-]{43}(?![\w-])", re.ASCII),
    re.compile(r"\b(?:[0-9A-HJKMNP-TV-Z]{6}[ -]){13}[0-9A-HJKMNP-TV-Z]{6}\b", re.IGNORECASE),
)
_CODE: Final = re.compile(r"\b(\d{1,4})-([a-z]+)-([a-z]+)\b")
PACKAGES = ("peer", "relay", "protocol", "crypto", "tui")


def without_secrets(text: str) -> str:
    """The text with what looks like a token, a link's secret, a recovery kit or a pairing code
    taken out. No message of ours says one; an error of a library may.
    """
    for secret in _SECRETS:
        text = secret.sub(HIDDEN, text)
    return _CODE.sub(_hide_code, text)


def _hide_code(found: re.Match[str]) -> str:
    from crypto.wordlist import words

    is_code = {found[2], found[3]} <= set(words())
    return f"{found[1]}-{HIDDEN}" if is_code else found[0]


class SafeFormatter(logging.Formatter):
    """Log lines in which nothing that another device chose can steer the terminal that shows
    them, and no secret is.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record as one line: a line end within it would let a name forge the next record."""
        return term_safe(without_secrets(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:
        """The traceback, whose own line ends stay."""
        text = without_secrets(super().formatException(ei))
        return "\n".join(term_safe(line) for line in text.split("\n"))


def configure_logging(is_verbose: bool, also: Iterable[logging.Handler] = ()) -> None:
    """Send the log of all our packages to standard error, and to others; the only place where
    logging is configured.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(logging.DEBUG if is_verbose else logging.INFO)
        for one in (handler, *also):
            logger.addHandler(one)
        logger.propagate = False
