import logging

import pytest

from peer.journal.daemon_log import DaemonLog
from peer.log_format import PACKAGES, SafeFormatter, configure_logging


@pytest.mark.row("A37")
def test_a_log_record_cannot_forge_another() -> None:
    formatter = SafeFormatter("%(levelname)s %(message)s")
    try:
        raise ValueError("a\x1b")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("peer", logging.INFO, "", 0, "name %s", ("x\nERROR y",), info)
    lines = formatter.format(record).split("\n")
    assert lines[0] == "INFO name x\\nERROR y"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: a\\x1b"


def test_logging_is_set_up_for_all_packages(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in PACKAGES]
    try:
        also = DaemonLog()
        configure_logging(is_verbose=False, also=[also])
        logging.getLogger("protocol.wire").info("told")
        logging.getLogger("protocol.wire").debug("not told")
        shown = capsys.readouterr().err
    finally:
        for logger in loggers:
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
    assert "INFO protocol.wire: told" in shown
    assert "not told" not in shown
    assert [line["text"] for line in also.page()["lines"]] == ["told"]
