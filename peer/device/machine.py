"""Which machine this is, so that a home that was carried to another one is noticed."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path


def machine_id() -> bytes:
    """A hash that differs between machines and stays on one; empty where the system has no such
    thing.
    """
    for source in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = Path(source).read_bytes().strip()
        except OSError:
            continue
        if text:
            # machine-id(5) asks that the id itself be kept where it is.
            return hashlib.sha256(b"holdfast machine\0" + text).digest()
    if sys.platform == "darwin":
        return _darwin_machine_id()
    return b""


def _darwin_machine_id() -> bytes:
    import ctypes

    host_uuid = ctypes.create_string_buffer(16)
    timeout = (ctypes.c_long * 2)(1, 0)
    if ctypes.CDLL(None).gethostuuid(host_uuid, timeout):
        return b""
    return hashlib.sha256(b"holdfast machine\0" + host_uuid.raw).digest()
