"""The newest lines of the daemon's log, kept in memory for who looks at them over the control API.

The same lines go to standard error, where the service's journal keeps them for longer. They are no
audit trail: nothing depends on them, and they are gone with the process.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from typing import Final

from peer.errors import UsageError
from peer.log_format import SafeFormatter
from peer.status import LogLine, LogLines

LINES_MAX: Final = 1_000
LINE_LENGTH_MAX: Final = 2_000
"""Characters, the traceback among them: all lines together take some 2 MB at most."""
PAGE: Final = 200


class DaemonLog(logging.Handler):
    """Those of one process. Whoever asks again names the last line that was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(SafeFormatter("%(message)s"))
        self._run = secrets.token_hex(4)
        self._number = 0
        self._lines: deque[LogLine] = deque(maxlen=LINES_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        """One more line; called by any thread, one at a time."""
        try:
            text = self.format(record)
        except (TypeError, ValueError, KeyError):  # the message does not fit what it is about
            self.handleError(record)
            return
        if len(text) > LINE_LENGTH_MAX:  # of a traceback the end says what happened
            half = LINE_LENGTH_MAX // 2 - 2
            text = f"{text[:half]}\n…\n{text[-half:]}"
        self._number += 1
        self._lines.append({
            "number": self._number, "time": record.created, "level": record.levelname.lower(),
            "name": record.name, "text": text,
        })  # fmt: skip

    def page(self, after: str | None = None, limit: int | None = None) -> LogLines:
        """The newest lines, the oldest of them first; with `after`, a `cursor` of before, only what
        came since. Raises UsageError for what is no cursor.
        """
        seen = 0 if after is None else self._number_of(after)
        self.acquire()
        try:
            found = [line for line in self._lines if line["number"] > seen]
            cursor = f"{self._run}-{self._number}"
        finally:
            self.release()
        start = max(0, len(found) - min(limit or PAGE, LINES_MAX))
        return {"lines": found[start:], "cursor": cursor}

    def _number_of(self, cursor: str) -> int:
        run, _, number = cursor.partition("-")
        if not number.isascii() or not number.isdecimal() or len(number) > 15:
            raise UsageError("This is no cursor that an answer of the log has given.")
        return int(number) if run == self._run else 0  # another run: all of this one is new


RECENT: Final = DaemonLog()
"""Of this process: logging is one for a process."""
