"""A lab that is killed in the middle leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.device import ROOT, wait_until

LAB = """
import json, os, sys
from pathlib import Path
from tests.nat.devices import Site
from tests.nat.routers import Kind
site = Site(Path(sys.argv[1]))
home = site.world.home(Kind.SYMMETRIC)
inode = os.stat(home.hosts[0].path).st_ino
print(json.dumps([site.relay._process.pid, inode]), flush=True)
sys.stdin.read()
"""


def test_a_killed_lab_leaves_no_process_and_no_network(tmp_path: Path) -> None:
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert lab.stdout is not None
    relay, inode = json.loads(lab.stdout.readline())
    assert network_of(relay) not in (None, network_of("self"))
    lab.kill()
    lab.communicate()
    wait_until(lambda: not Path(f"/proc/{relay}").exists(), "the end of the relay")
    # The kernel may have given the number to a network of others meanwhile, who end, too.
    wait_until(lambda: inode not in networks(), "the end of the network")


def networks() -> set[int | None]:
    """Those that a process is in."""
    return {network_of(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()}


def network_of(pid: int | str) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:  # it has ended
        return None
