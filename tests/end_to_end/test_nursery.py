from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.end_to_end.nursery import shared, tracer_of

BLIND = """
import ctypes, sys, time
SEIZE = 0x4206
assert ctypes.CDLL(None).ptrace(SEIZE, int(sys.argv[1]), None, None) == 0
time.sleep(60)
"""
"""A tracer that never looks whether what it traces has ended."""


def test_a_tracer_that_misses_an_end_holds_up_nobody(tmp_path: Path) -> None:
    daemon = shared().start(["--version"], tmp_path / "log", is_traced=True)
    tracer = subprocess.Popen([sys.executable, "-c", BLIND, str(daemon.pid)])
    try:
        deadline = time.monotonic() + 30
        while not tracer_of(daemon.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        daemon.kill()
        assert daemon.wait(1) == -signal.SIGKILL
        assert tracer.wait(30) == -signal.SIGKILL
    finally:
        tracer.kill()
        tracer.wait(30)
