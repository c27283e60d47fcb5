"""Where the control API is reached: a socket and a token in the home, for as long as the daemon
runs.
"""

import asyncio
import os
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from uvicorn import Config, Server

from peer.control.control import DaemonApi, make_app
from peer.control.control_client import SOCKET_NAME, TOKEN_NAME

SOCKET_PATH_SIZE_MAX = 100
"""A Unix socket's path is limited to 108 bytes on Linux and 104 on macOS, its closing zero
included.
"""


def _write_token(home: Path) -> str:
    """A new token for each start, in a file that nobody else can read at any moment."""
    token = secrets.token_urlsafe(32)
    unfinished = home / f"{TOKEN_NAME}.new"
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    unfinished.replace(home / TOKEN_NAME)
    return token


def _bind(home: Path) -> tuple[socket.socket, list[Path]]:
    """A listening socket at `control.sock`, and what to remove when it is closed.

    Where the home's path is too long for a socket, the socket lies in a private temporary directory
    and `control.sock` is a symlink to it. The caller holds the home's lock, so a socket that is
    there already belongs to nobody any more.
    """
    named = home / SOCKET_NAME
    named.unlink(missing_ok=True)
    bound, made = named, [named]
    if len(os.fsencode(named)) > SOCKET_PATH_SIZE_MAX:
        directory = Path(tempfile.mkdtemp(prefix="holdfast-"))
        bound = directory / SOCKET_NAME
        named.symlink_to(bound)
        made = [named, bound, directory]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    listener.bind(str(bound))
    bound.chmod(0o600)
    return listener, made


def _remove(made: list[Path]) -> None:
    for path in made:
        with suppress(FileNotFoundError):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@asynccontextmanager
async def serve_control(daemon: DaemonApi, home: Path) -> AsyncIterator[None]:
    """Answer the control API on the home's socket for as long as the context is open; requests
    under way are finished.

    uvicorn's own `serve` is not used: it takes over the process's signals, makes the socket
    world-writable and wakes up ten times a second for a Date header that nobody reads here.
    """
    config = Config(
        make_app(daemon, _write_token(home)),
        http="h11",  # One parser everywhere, whatever else is installed.
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    listener, made = _bind(home)
    try:
        await server.startup(sockets=[listener])
        try:
            yield
        finally:
            daemon.witness.events.close()  # or those who follow would be waited for
            await server.shutdown(sockets=[listener])
            for connection in list(server.server_state.connections):  # not done within its time
                connection.transport.abort()
            await asyncio.sleep(0)  # what was aborted is closed in the loop's next round
    finally:
        listener.close()
        _remove(made)
