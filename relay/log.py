"""The relay's log: a line an event, for people or for programs, with nobody's address in it.

What is logged at info and above is written without addresses and secrets in the first place. What
other code says (asyncio's of a transport, for one) is not ours, so addresses are taken out of every
line as well.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any, Final

_GROUPS: Final = "[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6}"
ADDRESSES: Final = (
    re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"),  # IPv4
    # IPv6: with two colons in a row, or with at least four, for a time of day has two.
    re.compile(f"(?:{_GROUPS})?::(?:{_GROUPS})?"),
    re.compile("(?:[0-9A-Fa-f]{1,4}:){4,7}[0-9A-Fa-f]{1,4}"),
)
HIDDEN: Final = "(address)"


class Form(logging.Formatter):
    """How a line looks: time, level, words, and the values that `extra={"values": ...}` brings."""

    def __init__(self, form: str, *, shows_addresses: bool) -> None:
        super().__init__()
        self._form, self._shows_addresses = form, shows_addresses

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback goes into it."""
        words = record.getMessage()
        if record.exc_info:
            words += "\n" + self.formatException(record.exc_info)
        if not self._shows_addresses:
            for address in ADDRESSES:
                words = address.sub(HIDDEN, words)
        values: dict[str, Any] = getattr(record, "values", {})
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if self._form == "json":
            head = {"time": time, "level": record.levelname.lower(), "event": words}
            return json.dumps(head | values)
        shown = "".join(f" {name}={value}" for name, value in values.items())
        return f"{time} {record.levelname.lower()} {words}{shown}".replace("\n", "\\n")


def configure(level: str, form: str) -> None:
    """Sends the log of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Form(form, shows_addresses=level == "debug"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
