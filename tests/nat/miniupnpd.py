"""Debian's miniupnpd on a router of the lab: NAT-PMP, PCP and UPnP as home routers have them."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.end_to_end.device import wait_until
from tests.nat.lab import LAN, Home
from tests.nat.namespaces import NoLab

PROGRAM: Final = "miniupnpd"
HTTP_PORT: Final = 5000
UUID: Final = "5f1f1e6c-5c1c-4c63-9d0f-7a3c5d1b2e01"
TABLES: Final = """
table inet filter {
    chain miniupnpd { }
    chain forward { type filter hook forward priority 0; policy drop;
        jump miniupnpd
        ct state established,related accept
        iifname lan accept
    }
    chain input { type filter hook input priority 0; policy drop;
        iifname { lo, lan } accept
        ct state established,related accept
    }
    chain prerouting { type nat hook prerouting priority dstnat; }
    chain prerouting_miniupnpd { }
    chain postrouting { type nat hook postrouting priority srcnat;
        jump postrouting_miniupnpd
        oifname wan masquerade fully-random
    }
    chain postrouting_miniupnpd { }
}
add rule inet filter prerouting jump prerouting_miniupnpd
"""
"""Behind it the mapping is symmetric: nobody gets in but by an open port."""


class Miniupnpd:
    """The daemon; `start` and `stop` as often as wanted."""

    def __init__(self, home: Home, directory: Path, *, by: str) -> None:
        """`by` is `PCP`, which brings NAT-PMP with it, or `UPnP`."""
        if shutil.which(PROGRAM) is None:
            raise NoLab("The lab needs miniupnpd: install the package miniupnpd-nftables.")
        self._home, self._directory = home, directory
        directory.mkdir(parents=True)
        home.router.nft(TABLES)
        home.router.ip("route replace 239.0.0.0/8 dev lan")
        options: Mapping[str, object] = {
            "ext_ifname": "wan", "listening_ip": "lan", "http_port": HTTP_PORT,
            "enable_natpmp": "yes" if by == "PCP" else "no",
            "enable_upnp": "yes" if by == "UPnP" else "no",
            "secure_mode": "yes", "system_uptime": "yes", "uuid": UUID,
            "upnp_table_name": "filter", "upnp_nat_table_name": "filter",
            "upnp_forward_chain": "miniupnpd", "upnp_nat_chain": "prerouting_miniupnpd",
            "upnp_nat_postrouting_chain": "postrouting_miniupnpd",
            "lease_file": directory / "leases",
        }  # fmt: skip
        lines = [f"{key}={value}" for key, value in options.items()]
        lines += [f"allow 1024-65535 {LAN}.0/24 1024-65535", "deny 0-65535 0.0.0.0/0 0-65535"]
        (directory / "miniupnpd.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Starts it, and returns when it works."""
        log = self._directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    "nsenter", f"--net={self._home.router.path}", PROGRAM, "-d",
                    "-f", str(self._directory / "miniupnpd.conf"),
                    "-P", str(self._directory / "pid"),
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=_end_with_parent,
            )  # fmt: skip

        def works() -> bool:
            assert self._process.poll() is None, log.read_text(errors="replace")
            return "listening" in log.read_text(errors="replace").lower()

        wait_until(works, lambda: f"miniupnpd: {log.read_text(errors='replace')}")

    def open_ports(self) -> str:
        """What it has opened, as nft lists it."""
        return self._home.router.run(
            "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"
        )

    def forget(self) -> None:
        """Ends it as a router's loss of power does: what was open is not any more."""
        self._process.kill()
        self._process.wait(10)
        (self._directory / "leases").unlink(missing_ok=True)
        self._home.router.nft(TABLES)

    def stop(self) -> None:
        """Ends it, and waits for no goodbye: under load it takes more than ten seconds for that."""
        self._process.kill()
        self._process.wait(10)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
