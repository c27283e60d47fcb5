"""The daemon's log: where it goes, and how what other devices chose is kept from forging it."""

import logging
from typing import Any

from peer.command_line.terminal import term_safe

PACKAGES = ("peer", "relay", "protocol", "crypto", "tui")


class SafeFormatter(logging.Formatter):
    """Log lines in which nothing that another device chose can steer the terminal that shows
    them.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record as one line: a line end within it would let a name forge the next record."""
        return term_safe(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """The traceback, whose own line ends stay."""
        return "\n".join(term_safe(line) for line in super().formatException(ei).split("\n"))


def configure_logging(is_verbose: bool) -> None:
    """Send the log of all our packages to standard error; the only place where logging is
    configured.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(logging.DEBUG if is_verbose else logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
