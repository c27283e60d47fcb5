"""How soon two devices do without the relay that joined them, when they have another one.

    sudo python -m tests.bench.bench_lost [--runs 3]

Real daemons, which have no way to each other but relays, and two real relays, in a network of their
own (which is what needs root). The one that carries the link is killed, frozen, or cut off without
a word; what is told is when both devices show it as lost, and when they are linked again.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.device import FOLDER, Device, attach, end, found, wait_until
from tests.end_to_end.test_relay import RelayProcess, is_connected

HOWS = ("killed", "frozen", "cut off")
INSIDE = "HOLDFAST_BENCH_INSIDE"
DEADLINE_S = 90.0


def carrier(device: Device) -> int | None:
    """The port of the relay that carries the link; None without a link."""
    links = device.client.status()["links"]
    return int(links[0]["address"].rpartition(":")[2]) if links else None


def is_shown_lost(device: Device, relay: RelayProcess) -> bool:
    entries = device.client.relays()["relays"]
    return not next(e["connected"] for e in entries if e["address"] == relay.address)


def seconds_until(is_so: Callable[[], bool]) -> float:
    began = time.monotonic()
    wait_until(is_so, "what is measured", DEADLINE_S)
    return time.monotonic() - began


def nft(*words: str) -> None:
    subprocess.run(["nft", *words], check=True)


def take_away(relay: RelayProcess, how: str) -> None:
    if how == "killed":
        relay.process.kill()
        relay.process.communicate()
    elif how == "frozen":
        relay.process.send_signal(signal.SIGSTOP)
    else:
        nft("add", "table", "inet", "cut")
        nft("add", "chain", "inet", "cut", "in", "{ type filter hook input priority 0 ; }")
        for side in ("dport", "sport"):
            nft("add", "rule", "inet", "cut", "in", "meta", "l4proto", "{ tcp, udp }",
                "th", side, str(relay.port), "drop")  # fmt: skip


def bring_back(relay: RelayProcess, how: str) -> None:
    if how == "killed":
        relay.start()
    elif how == "frozen":
        relay.process.send_signal(signal.SIGCONT)
    else:
        nft("delete", "table", "inet", "cut")


def play(directory: Path, runs: int) -> None:
    relays = [RelayProcess(directory / f"relay-{number}") for number in range(2)]
    one, other = Device(directory, "alpha"), Device(directory, "beta")
    one.links = other.links = "tls"
    try:
        found(one)
        for relay in relays:
            one.command("relay", "add", relay.address)
        wait_until(lambda: is_connected(one), "the relays")
        code = one.command("invite")["code"]
        other.command("join", code, "--relay", relays[0].address, "--name", other.name)
        other.start()
        one.command("folder", "add", str(one.folder), "--name", FOLDER)
        attach(other)
        for how in HOWS:
            noticed, linked = [], []
            for _ in range(runs):
                wait_until(lambda: is_connected(one) and is_connected(other), "relays", DEADLINE_S)
                wait_until(lambda: carrier(one) is not None, "a link", DEADLINE_S)
                relay = next(each for each in relays if each.port == carrier(one))
                rest = next(each for each in relays if each is not relay)
                began = time.monotonic()
                take_away(relay, how)
                linked.append(
                    seconds_until(lambda: carrier(one) == carrier(other) == rest.port)  # noqa: B023
                )
                wait_until(
                    lambda: is_shown_lost(one, relay) and is_shown_lost(other, relay),  # noqa: B023
                    "its loss to be shown",
                    DEADLINE_S,
                )
                noticed.append(time.monotonic() - began)
                bring_back(relay, how)
            print(
                f"a relay is {how}: linked through the other one after"
                f" {statistics.median(linked):.1f} s (at most {max(linked):.1f}), shown as lost by"
                f" both after {statistics.median(noticed):.1f} s (at most {max(noticed):.1f})",
                flush=True,
            )
    finally:
        end([one, other])
        for relay in relays:
            relay.process.send_signal(signal.SIGCONT)
            relay.process.kill()
            relay.process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        words = [sys.executable, "-m", "tests.bench.bench_lost", *sys.argv[1:]]
        os.execvpe("unshare", ["unshare", "-n", *words], os.environ | {INSIDE: "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        play(Path(directory), arguments.runs)


if __name__ == "__main__":
    main()
