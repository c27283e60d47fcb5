"""The daemon's control API: HTTP with JSON on a Unix socket in the home, for the command line, the
terminal screen and scripts.

Every request passes the guards of ATTACKS A36 before any route is looked at: a local Host, no
foreign Origin, nothing that a browser sent from another site, the token of `control.token`, and
JSON for a body. No answer carries a CORS header. GET never changes anything. Errors are problem
documents (RFC 9457) with two members more: `code` and `exit_code` (peer/errors.py).
"""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from peer.errors import AccessRefused, PeerError, UsageError
from peer.status import (
    Choice,
    ConflictList,
    DeviceList,
    FolderEntry,
    FolderList,
    HoldAnswer,
    Invitation,
    RelayEntry,
    RelayList,
    RestoreReport,
    SearchAnswer,
    Status,
    VersionList,
)
from protocol.relay_address import BadRelayAddress, RelayAddress
from protocol.relay_token import BadRelayToken, parse_token

BODY_SIZE_MAX = 64 * 1024
FOUND_DEFAULT = 50
FOUND_MAX = 1000
"""Found files in one answer; who looks for more types another word."""

_log = logging.getLogger(__name__)


class DaemonApi(Protocol):
    """What the control API asks of the daemon. Each method may raise PeerError, whose sentence is
    what the person sees.
    """

    async def status(self) -> Status:
        """Everything that `holdfast status` shows; cheap enough to be asked ten times a second."""

    async def invite(self) -> Invitation:
        """Open an invitation and say its code."""

    async def add_folder(self, path: Path, name: str) -> FolderEntry:
        """Make a new folder of an absolute path and share it with the user's other devices."""

    async def folders(self) -> FolderList:
        """All folders this device knows, attached or only offered."""

    async def attach_folder(self, name_or_id: str, path: Path) -> FolderEntry:
        """Put an offered folder on an absolute path."""

    async def remove_folder(self, name_or_id: str) -> None:
        """Stop to sync a folder here; its files stay where they are."""

    async def devices(self) -> DeviceList:
        """The user's devices."""

    async def remove_device(self, name_or_id: str) -> None:
        """Make a device the user's no more, for good."""

    async def add_relay(self, address: RelayAddress, token: bytes = b"") -> RelayEntry:
        """Meet the user's devices at one more relay."""

    async def list_relays(self) -> RelayList:
        """The relays of this device, and whether there is a link to each."""

    async def remove_relay(self, address_or_host: str) -> None:
        """Use a relay no more, on none of the user's devices."""

    async def pause(self, name_or_id: str | None) -> None:
        """Pause a folder, or all of them."""

    async def resume(self, name_or_id: str | None) -> None:
        """Resume a folder, or all of them."""

    async def answer_hold(self, name_or_id: str, answer: HoldAnswer) -> None:
        """Go on with a folder that asks."""

    async def conflicts(self) -> ConflictList:
        """The conflict copies of all folders."""

    async def resolve(self, path: Path, choice: Choice) -> None:
        """Do what a person decided about a conflict copy."""

    async def search(self, query: str, limit: int) -> SearchAnswer:
        """The files and directories that match, the best first."""

    async def versions(self, path: Path) -> VersionList:
        """What a file is and was."""

    async def deleted(self, path: Path) -> VersionList:
        """What was deleted below a directory."""

    async def restore(
        self, path: Path, version: int | None, at_s: int | None, out: Path | None
    ) -> RestoreReport:
        """Bring one version of a file back; return when it is there, or cannot be."""

    async def restore_folder(self, path: Path, at_s: int, *, is_dry: bool) -> RestoreReport:
        """Bring all files below a directory back to what they were."""

    async def stop(self) -> None:
        """Begin to stop, and return at once."""

    def acted(self, path: str, members: Mapping[str, Any]) -> None:
        """Something that was asked for was done: the route, and what the request said."""


class _Fields:
    """The members of a request's JSON object, each taken once and checked; what is left over is a
    mistake.
    """

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self._members.pop(name, None)
        if not isinstance(value, str) or not value:
            raise UsageError(f"The request needs `{name}`, a text.")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None when it is missing or null."""
        if self._members.get(name) is None:
            self._members.pop(name, None)
            return None
        return self.text(name)

    def path(self, name: str) -> Path:
        """An absolute path: the daemon's own directory means nothing to who asks."""
        path = Path(self.text(name))
        if not path.is_absolute() or "\0" in str(path):
            raise UsageError(f"`{name}` has to be an absolute path.")
        return path

    def token(self, name: str) -> bytes:
        """The token of an invitation to a relay; empty when it is missing."""
        text = self.optional_text(name)
        try:
            return b"" if text is None else parse_token(text)
        except BadRelayToken as error:
            raise UsageError(str(error)) from error

    def relay(self, name: str) -> RelayAddress:
        """A relay's address."""
        try:
            return RelayAddress.parse(self.text(name))
        except BadRelayAddress as error:
            raise UsageError(str(error)) from error

    def optional_path(self, name: str) -> Path | None:
        """The same, or None when it is missing or null."""
        if self._members.get(name) is None:
            self._members.pop(name, None)
            return None
        return self.path(name)

    def number(self, name: str) -> int:
        """A whole number that is not negative."""
        value = self._members.pop(name, None)
        if type(value) is not int or not 0 <= value < 1 << 62:
            raise UsageError(f"`{name}` has to be a whole number.")
        return value

    def optional_number(self, name: str) -> int | None:
        """The same, or None when it is missing or null."""
        if self._members.get(name) is None:
            self._members.pop(name, None)
            return None
        return self.number(name)

    def flag(self, name: str) -> bool:
        """True or false; false when it is missing."""
        value = self._members.pop(name, False)
        if type(value) is not bool:
            raise UsageError(f"`{name}` has to be true or false.")
        return value

    def answer(self, name: str) -> HoldAnswer:
        """One of HoldAnswer."""
        value = self.text(name)
        if value not in list(HoldAnswer):
            raise UsageError(f"`{name}` has to be one of: {', '.join(HoldAnswer)}.")
        return HoldAnswer(value)

    def end(self) -> None:
        """Refuse members that nothing asked for: a misspelt option must not be silently ignored."""
        if self._members:
            raise UsageError(f"The request has a member too many: {min(self._members)}.")


_Act = Callable[[DaemonApi, _Fields], Awaitable[Mapping[str, Any] | None]]


async def _add_folder(daemon: DaemonApi, fields: _Fields) -> Mapping[str, Any]:
    path, name = fields.path("path"), fields.text("name")
    fields.end()
    return await daemon.add_folder(path, name)


async def _attach_folder(daemon: DaemonApi, fields: _Fields) -> Mapping[str, Any]:
    folder, path = fields.text("folder"), fields.path("path")
    fields.end()
    return await daemon.attach_folder(folder, path)


async def _remove_folder(daemon: DaemonApi, fields: _Fields) -> None:
    folder = fields.text("folder")
    fields.end()
    await daemon.remove_folder(folder)


async def _remove_device(daemon: DaemonApi, fields: _Fields) -> None:
    device = fields.text("device")
    fields.end()
    await daemon.remove_device(device)


async def _add_relay(daemon: DaemonApi, fields: _Fields) -> Mapping[str, Any]:
    address, token = fields.relay("address"), fields.token("token")
    fields.end()
    return await daemon.add_relay(address, token)


async def _remove_relay(daemon: DaemonApi, fields: _Fields) -> None:
    address = fields.text("address")
    fields.end()
    await daemon.remove_relay(address)


async def _pause(daemon: DaemonApi, fields: _Fields) -> None:
    folder = fields.optional_text("folder")
    fields.end()
    await daemon.pause(folder)


async def _resume(daemon: DaemonApi, fields: _Fields) -> None:
    folder = fields.optional_text("folder")
    fields.end()
    await daemon.resume(folder)


async def _answer(daemon: DaemonApi, fields: _Fields) -> None:
    folder, answer = fields.text("folder"), fields.answer("answer")
    fields.end()
    await daemon.answer_hold(folder, answer)


async def _versions(daemon: DaemonApi, fields: _Fields) -> Mapping[str, Any]:
    path, is_deleted = fields.path("path"), fields.flag("deleted")
    fields.end()
    return await (daemon.deleted(path) if is_deleted else daemon.versions(path))


async def _resolve(daemon: DaemonApi, fields: _Fields) -> None:
    path, keep = fields.path("path"), fields.text("keep")
    fields.end()
    if keep not in list(Choice):
        raise UsageError(f"`keep` has to be one of: {', '.join(Choice)}.")
    await daemon.resolve(path, Choice(keep))


async def _search(daemon: DaemonApi, fields: _Fields) -> Mapping[str, Any]:
    query, limit = fields.text("query"), fields.optional_number("limit")
    fields.end()
    return await daemon.search(query, min(limit or FOUND_DEFAULT, FOUND_MAX))


async def _restore(daemon: DaemonApi, fields: _Fields) -> Mapping[str, Any]:
    path, version = fields.path("path"), fields.optional_number("version")
    at_s, out = fields.optional_number("at_s"), fields.optional_path("to")
    fields.end()
    if version is not None and at_s is not None:
        raise UsageError("Give either `version` or `at_s`.")
    return await daemon.restore(path, version, at_s, out)


async def _restore_folder(daemon: DaemonApi, fields: _Fields) -> Mapping[str, Any]:
    path, at_s, is_dry = fields.path("path"), fields.number("at_s"), fields.flag("dry_run")
    fields.end()
    return await daemon.restore_folder(path, at_s, is_dry=is_dry)


async def _without_fields(
    call: Callable[[], Awaitable[Mapping[str, Any] | None]], fields: _Fields
) -> Mapping[str, Any] | None:
    fields.end()
    return await call()


ROUTES: tuple[tuple[str, str, _Act], ...] = (
    ("GET", "/api/sync/status", lambda d, f: _without_fields(d.status, f)),
    ("POST", "/api/sync/pause", _pause),
    ("POST", "/api/sync/resume", _resume),
    ("POST", "/api/sync/answer", _answer),
    ("GET", "/api/folders", lambda d, f: _without_fields(d.folders, f)),
    ("POST", "/api/folders/create", _add_folder),
    ("POST", "/api/folders/attach", _attach_folder),
    ("POST", "/api/folders/remove", _remove_folder),
    ("GET", "/api/sync/conflicts", lambda d, f: _without_fields(d.conflicts, f)),
    ("POST", "/api/sync/conflict/resolve", _resolve),
    ("POST", "/api/search", _search),
    ("POST", "/api/versions", _versions),
    ("POST", "/api/versions/restore", _restore),
    ("POST", "/api/folders/restore", _restore_folder),
    ("GET", "/api/devices", lambda d, f: _without_fields(d.devices, f)),
    ("POST", "/api/devices/remove", _remove_device),
    ("POST", "/api/devices/invite", lambda d, f: _without_fields(d.invite, f)),
    ("GET", "/api/relays", lambda d, f: _without_fields(d.list_relays, f)),
    ("POST", "/api/relays/add", _add_relay),
    ("POST", "/api/relays/remove", _remove_relay),
    ("POST", "/api/daemon/stop", lambda d, f: _without_fields(d.stop, f)),
)
"""Everything that can be asked of a daemon: one line each."""


def _answer_of(content: Mapping[str, Any], status: int, media_type: str) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(json.dumps(content), status, headers, media_type)


def problem(error: PeerError, status: int | None = None) -> Response:
    """The error as a problem document (RFC 9457)."""
    content = {
        "type": "about:blank",
        "title": error.sentence(),
        "status": status or error.http_status,
        "detail": str(error),
        "code": error.code,
        "exit_code": error.exit_code,
    }
    return _answer_of(content, status or error.http_status, "application/problem+json")


async def _read_members(request: Request) -> dict[str, Any]:
    """The body as a JSON object, read no further than BODY_SIZE_MAX; no body is an object with no
    members.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_SIZE_MAX:
            raise UsageError(f"The request is longer than {BODY_SIZE_MAX} bytes.")
    try:
        members = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise UsageError("The request has to be a JSON object.")
    return members


def _make_endpoint(daemon: DaemonApi, act: _Act) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            members = await _read_members(request)
            content = await act(daemon, _Fields(dict(members)))
            if request.method != "GET":
                daemon.acted(request.url.path, members)
        except PeerError as error:
            return problem(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:  # noqa: BLE001 - a door: a defect in one answer must not end the daemon.
            _log.exception("The request %s failed.", request.url.path)
            return problem(PeerError())
        return _answer_of({} if content is None else content, 200, "application/json")

    return endpoint


def _is_local(authority: str) -> bool:
    """Whether a Host names this machine by a name that no DNS server can point elsewhere."""
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdecimal():
        host = authority
    return host.lower() in ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """The checks of ATTACKS A36, before every route and before those that do not exist."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._authorization = f"Bearer {token}".encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with what is wrong with it."""
        app = self._app
        if scope["type"] == "http":
            app = self._refusal(scope) or app
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        names = [name for name, _ in scope["headers"]]
        headers = dict(scope["headers"])
        if names.count(b"host") != 1 or not _is_local(headers[b"host"].decode("latin-1")):
            return problem(AccessRefused("The request names another host than this machine."))
        origin = headers.get(b"origin")
        if origin is not None and origin != b"http://" + headers[b"host"]:
            return problem(AccessRefused("The request comes from a page of another origin."))
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return problem(AccessRefused("The request comes from a page of another site."))
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._authorization):
            refused = problem(AccessRefused("The request carries no valid token."), 401)
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        if scope["method"] not in ("GET", "HEAD"):
            media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if media_type != b"application/json":
                return problem(UsageError("The request's content has to be application/json."), 415)
        return None


async def _say_not_found(request: Request, error: Exception) -> Response:
    return problem(UsageError(f"There is nothing at {request.url.path}."), 404)


async def _say_wrong_method(request: Request, error: Exception) -> Response:
    return problem(UsageError(f"{request.url.path} does not know {request.method}."), 405)


def make_app(daemon: DaemonApi, token: str) -> ASGIApp:
    """The API as an ASGI application, guards included."""
    routes = [
        Route(path, _make_endpoint(daemon, act), methods=[method]) for method, path, act in ROUTES
    ]
    return Guard(
        Starlette(routes=routes, exception_handlers={404: _say_not_found, 405: _say_wrong_method}),
        token,
    )
