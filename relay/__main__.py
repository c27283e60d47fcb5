"""`holdfast relay run` and its like end up here: a program that shares no code with a device's."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from relay.admissions import (
    DAYS_DEFAULT,
    DAYS_MAX,
    DEVICES_DEFAULT,
    DEVICES_MAX,
    InvitationRow,
    invitations,
    invite,
    withdraw,
)
from relay.config import example, read_config, with_web
from relay.errors import RelayError, TooManyInvitations, UnknownInvitation, UsageError
from relay.key_store import load_keys
from relay.log import configure
from relay.service import serve
from relay.store import RelayStore

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def main(argv: Sequence[str] | None = None) -> int:
    """Does one command; the door at which its errors become sentences."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.act(arguments)
    except RelayError as error:
        if arguments.json:
            print(json.dumps({"error": {"code": error.code, "message": str(error)}}))
        print(f"holdfast: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast relay", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)

    def add(name: str, act: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, allow_abbrev=False)
        command.set_defaults(act=act)
        command.add_argument("--home", type=Path, required=True)
        command.add_argument("--json", action="store_true")
        command.add_argument("--verbose", action="store_true")
        return command

    run = add("run", _run)
    run.add_argument("--host", required=True)
    run.add_argument("--port", type=int, required=True)
    run.add_argument("--config", type=Path)
    run.add_argument("--web")
    add("config", _config)
    new = add("invite", _invite)
    new.add_argument("--devices", type=int, default=DEVICES_DEFAULT)
    new.add_argument("--days", type=int, default=DAYS_DEFAULT)
    add("invitations", _invitations)
    add("withdraw", _withdraw).add_argument("invitation")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    config = read_config(arguments.config)
    if arguments.web is not None:
        config = with_web(config, arguments.web)
    configure("debug" if arguments.verbose else config.log_level, config.log_form)

    def announce(address: str, web: str) -> None:
        if arguments.json:
            print(json.dumps({"address": address, "web": web}), flush=True)
            return
        print(address, flush=True)
        if web:
            print(f"Share links begin with {web}/s/", flush=True)
        if (config.public_host or arguments.host) in WILDCARDS:
            print(
                f"In place of {arguments.host}, tell the name or address by which devices reach"
                " this machine.",
                flush=True,
            )

    work = serve(arguments.home, arguments.host, arguments.port, config, announce)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where there is one: an idle device takes 37 KiB with it, else some 300."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory


def _config(arguments: argparse.Namespace) -> None:
    print(json.dumps({"example": example()}) if arguments.json else example(), end="")


def _invite(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.devices <= DEVICES_MAX or not 1 <= arguments.days <= DAYS_MAX:
        raise UsageError(
            f"An invitation is for 1 to {DEVICES_MAX} devices and 1 to {DAYS_MAX} days."
        )

    async def work(store: RelayStore) -> str | None:
        return await invite(store, arguments.devices, arguments.days, time.time(), os.urandom)

    token = _with_store(arguments, work)
    if token is None:
        raise TooManyInvitations("There are too many invitations: take some back first.")
    if arguments.json:
        print(json.dumps({"token": token}))
        return
    print(token)
    print(
        f"It lets {arguments.devices} devices in, for {arguments.days} days. On a device:"
        " `holdfast relay add ADDRESS --token`, and paste it when it is asked for; the device's"
        " others are told. It is a secret: send it like a password."
    )


def _invitations(arguments: argparse.Namespace) -> None:
    rows: list[InvitationRow] = _with_store(arguments, invitations)
    if arguments.json:
        print(json.dumps({"invitations": [row._asdict() for row in rows]}))
        return
    now = time.time()
    for row in rows:
        left = "over" if row.expires_s <= now else f"{(row.expires_s - now) / 86_400:.0f} days left"
        print(f"{row.name}  {row.devices} of {row.devices_max} devices, {left}")
    if not rows:
        print("There are no invitations. `holdfast relay invite` makes one.")


def _withdraw(arguments: argparse.Namespace) -> None:
    async def work(store: RelayStore) -> int | None:
        return await withdraw(store, arguments.invitation)

    count = _with_store(arguments, work)
    if count is None:
        raise UnknownInvitation(
            f"There is no invitation {arguments.invitation}. `holdfast relay invitations` shows"
            " those that there are."
        )
    if arguments.json:
        print(json.dumps({"devices": count}))
    else:
        print(f"It lets nobody in any more, and {count} devices are out within a minute.")


def _with_store(
    arguments: argparse.Namespace, work: Callable[[RelayStore], Coroutine[Any, Any, Any]]
) -> Any:
    """Works on the relay's database, beside a relay that runs or not."""

    async def run() -> Any:
        load_keys(arguments.home)  # a home that is none is told as such
        store = await RelayStore.open(arguments.home)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
