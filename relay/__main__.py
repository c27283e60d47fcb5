"""`holdfast relay run` ends up here: a program of its own, which shares no code with a device's."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from protocol.relay_address import RelayAddress
from relay.errors import RelayError
from relay.key_store import load_keys
from relay.server import Relay, listen

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a relay until it is told to stop; the door at which its errors become sentences."""
    parser = argparse.ArgumentParser(prog="holdfast relay run", allow_abbrev=False)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(arguments.home, arguments.host, arguments.port, as_json=arguments.json))
    except RelayError as error:
        if arguments.json:
            print(json.dumps({"error": {"code": error.code, "message": str(error)}}))
        print(f"holdfast: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where there is one: an idle device takes 37 KiB with it, else some 300."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory


async def _run(home: Path, host: str, port: int, *, as_json: bool) -> None:
    keys = load_keys(home)
    listening = listen(host, port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as tasks:
        relay = Relay(keys, tasks)
        found = relay.start(listening)
        address = str(RelayAddress(host, found, relay.relay_id))
        if as_json:
            print(json.dumps({"address": address}), flush=True)
        else:
            print(address, flush=True)
            if host in WILDCARDS:
                print(
                    f"In place of {host}, tell the name or address by which devices reach this"
                    " machine.",
                    flush=True,
                )
        try:
            await stopped.wait()
        finally:
            await relay.stop()


if __name__ == "__main__":
    sys.exit(main())
