"""The daemon's control API: HTTP with JSON on a Unix socket in the home, for the command line, the
terminal screen and scripts.

Every request passes the guards of ATTACKS A36 before any route is looked at: a local Host, no
foreign Origin, nothing that a browser sent from another site, the token of `control.token`, and
JSON for a body. No answer carries a CORS header. GET never changes anything. Errors are problem
documents (RFC 9457) with two members more: `code` and `exit_code` (peer/errors.py).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from peer.control import control_files, control_people, home_control
from peer.control.control_fields import Fields, read_members
from peer.control.control_files import FilesApi
from peer.control.control_guard import Guard, answer_of, problem, unless_known
from peer.control.control_people import LogApi, UsersApi
from peer.control.home_control import HomeApi, LinesApi, TransferApi
from peer.control.openapi import document
from peer.control.overview import overview
from peer.errors import PeerError, UnknownFolder, UsageError
from peer.journal.event_stream import EventStream, TooManyReaders
from peer.journal.notices import NOTICES_MAX
from peer.share_links import link_control
from peer.share_links.link_control import ShareLinkApi
from peer.status import (
    BackupEntry,
    BackupList,
    Choice,
    ConflictList,
    DeviceList,
    FolderEntry,
    FolderList,
    HoldAnswer,
    Invitation,
    KitSheet,
    NoticeList,
    RelayEntry,
    RelayList,
    RepairReport,
    RestoreReport,
    SearchAnswer,
    Status,
    Suggestions,
    VersionBytes,
    VersionList,
)
from protocol.relay_address import RelayAddress

EVENTS_PATH = "/api/events"
FOLDER_PATH = "/api/folders/{folder_id:folder_id}"
FOUND_DEFAULT = 50
MERGED = "merged"
"""What is kept of a conflict beside a Choice: the text that comes with it."""
SUGGESTED_DEFAULT = 8
FOUND_MAX = 1000
"""Found files in one answer; who looks for more types another word."""

_log = logging.getLogger(__name__)


class _FolderIds(StringConvertor):
    """A folder's id, and nothing else: `create` is a route of its own."""

    regex = "[0-9a-f]{64}"


register_url_convertor("folder_id", _FolderIds())


class BackupApi(Protocol):
    """What the control API asks of copies at super-nodes."""

    async def add(
        self, folder: str, addresses: Sequence[RelayAddress], needed: int, count: int
    ) -> BackupEntry:
        """Keep a folder at these super-nodes from now on."""

    async def remove(self, folder: str) -> None:
        """Keep a folder no more."""

    async def repair(self, folder: str) -> RepairReport:
        """Look at all copies of a folder now, and store anew what is missing."""

    async def every(self) -> BackupList:
        """How all copies stand."""

    async def show_kit(self, kit: str) -> KitSheet:
        """Check a kit, keep what finds its vault, and tell what is printed beside it."""


class WitnessApi(LogApi, Protocol):
    """What the control API asks of who keeps what happened."""

    @property
    def events(self) -> EventStream:
        """What happens, as it happens."""

    def acted(self, path: str, members: Mapping[str, Any]) -> None:
        """Something that was asked for was done: the route, and what the request said."""

    async def notifications(self, *, unread_only: bool, limit: int) -> NoticeList:
        """What a person should hear of."""

    async def mark_as_read(self, ids: Sequence[int] | None) -> int:
        """A person has read these, or all; says how many they had not."""


class DaemonApi(Protocol):
    """What the control API asks of the daemon. Each method may raise PeerError, whose sentence is
    what the person sees.
    """

    @property
    def witness(self) -> WitnessApi:
        """Who keeps what happened."""

    @property
    def users(self) -> UsersApi:
        """Who the user is."""

    @property
    def files(self) -> FilesApi:
        """Files by their ids."""

    @property
    def share_links(self) -> ShareLinkApi:
        """Who makes share links."""

    @property
    def home_requests(self) -> HomeApi:
        """Who knows settings."""

    @property
    def log_lines(self) -> LinesApi:
        """The newest lines of the log."""

    @property
    def transfers(self) -> TransferApi:
        """Who knows what is on its way."""

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

    async def merge(self, path: Path, text: str) -> None:
        """Put a text that a person made of both in the place of a file, and its copy away."""

    async def search(self, query: str, limit: int) -> SearchAnswer:
        """The files and directories that match, the best first."""

    async def suggest(self, query: str, limit: int) -> Suggestions:
        """What a query that is being typed may become."""

    async def versions(self, path: Path) -> VersionList:
        """What a file is and was."""

    async def read_version(self, path: Path, version: int) -> VersionBytes:
        """The beginning of an earlier version."""

    async def deleted(self, path: Path) -> VersionList:
        """What was deleted below a directory."""

    async def restore(
        self, path: Path, version: int | None, at_s: int | None, out: Path | None
    ) -> RestoreReport:
        """Bring one version of a file back; return when it is there, or cannot be."""

    async def restore_folder(self, path: Path, at_s: int, *, is_dry: bool) -> RestoreReport:
        """Bring all files below a directory back to what they were."""

    @property
    def backups(self) -> BackupApi:
        """The copies at super-nodes."""

    async def stop(self) -> None:
        """Begin to stop, and return at once."""


_Act = Callable[[DaemonApi, Fields], Awaitable[Mapping[str, Any] | None]]


async def _add_folder(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    path, name = fields.path("path"), fields.text("name")
    fields.end()
    return await daemon.add_folder(path, name)


async def _attach_folder(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    folder, path = fields.text("folder"), fields.path("path")
    fields.end()
    return await daemon.attach_folder(folder, path)


async def _remove_folder(daemon: DaemonApi, fields: Fields) -> None:
    folder = fields.text("folder")
    fields.end()
    await daemon.remove_folder(folder)


async def _remove_device(daemon: DaemonApi, fields: Fields) -> None:
    device = fields.text("device")
    fields.end()
    await daemon.remove_device(device)


async def _add_relay(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    address, token = fields.relay("address"), fields.token("token")
    fields.end()
    return await daemon.add_relay(address, token)


async def _remove_relay(daemon: DaemonApi, fields: Fields) -> None:
    address = fields.text("address")
    fields.end()
    await daemon.remove_relay(address)


async def _pause(daemon: DaemonApi, fields: Fields) -> None:
    folder = fields.optional_text("folder")
    fields.end()
    await daemon.pause(folder)


async def _resume(daemon: DaemonApi, fields: Fields) -> None:
    folder = fields.optional_text("folder")
    fields.end()
    await daemon.resume(folder)


async def _answer(daemon: DaemonApi, fields: Fields) -> None:
    folder, answer = fields.text("folder"), fields.answer("answer")
    fields.end()
    await daemon.answer_hold(folder, answer)


async def _versions(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    path, is_deleted = fields.path("path"), fields.flag("deleted")
    fields.end()
    return await (daemon.deleted(path) if is_deleted else daemon.versions(path))


async def _read_version(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    path, version = fields.path("path"), fields.number("version")
    fields.end()
    return await daemon.read_version(path, version)


async def _resolve(daemon: DaemonApi, fields: Fields) -> None:
    path, keep = fields.path("path"), fields.text("keep")
    merged = fields.whole_text("text") if keep == MERGED else None
    fields.end()
    if merged is not None:
        await daemon.merge(path, merged)
        return
    if keep not in list(Choice):
        raise UsageError(f"`keep` has to be one of: {', '.join([*Choice, MERGED])}.")
    await daemon.resolve(path, Choice(keep))


async def _search(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    query, limit = fields.text("query"), fields.optional_number("limit")
    fields.end()
    return await daemon.search(query, min(limit or FOUND_DEFAULT, FOUND_MAX))


async def _suggest(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    query, limit = fields.text("query"), fields.optional_number("limit")
    fields.end()
    return await daemon.suggest(query, min(limit or SUGGESTED_DEFAULT, FOUND_MAX))


async def _restore(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    path, version = fields.path("path"), fields.optional_number("version")
    at_s, out = fields.optional_number("at_s"), fields.optional_path("to")
    fields.end()
    if version is not None and at_s is not None:
        raise UsageError("Give either `version` or `at_s`.")
    return await daemon.restore(path, version, at_s, out)


async def _restore_folder(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    path, at_s, is_dry = fields.path("path"), fields.number("at_s"), fields.flag("dry_run")
    fields.end()
    return await daemon.restore_folder(path, at_s, is_dry=is_dry)


async def _notifications(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    unread_only, limit = fields.flag("unread"), fields.optional_number("limit")
    fields.end()
    return await daemon.witness.notifications(unread_only=unread_only, limit=limit or NOTICES_MAX)


async def _mark_as_read(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    ids = fields.numbers("ids")
    fields.end()
    return {"marked": await daemon.witness.mark_as_read(ids)}


async def _add_backup(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    folder, nodes = fields.text("folder"), fields.relays("nodes")
    needed, count = fields.number("needed"), fields.number("count")
    fields.end()
    return await daemon.backups.add(folder, nodes, needed, count)


async def _remove_backup(daemon: DaemonApi, fields: Fields) -> None:
    folder = fields.text("folder")
    fields.end()
    await daemon.backups.remove(folder)


async def _repair_backup(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    folder = fields.text("folder")
    fields.end()
    return await daemon.backups.repair(folder)


async def _show_kit(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    kit = fields.text("kit")
    fields.end()
    return await daemon.backups.show_kit(kit)


async def _without_fields(
    call: Callable[[], Awaitable[Mapping[str, Any] | None]], fields: Fields
) -> Mapping[str, Any] | None:
    fields.end()
    return await call()


ROUTES: tuple[tuple[str, str, _Act], ...] = (
    ("GET", "/api/sync/status", lambda d, f: _without_fields(d.status, f)),
    ("GET", "/api/overview", overview),
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
    ("POST", "/api/search/suggest", _suggest),
    ("POST", "/api/versions", _versions),
    ("POST", "/api/versions/read", _read_version),
    ("POST", "/api/versions/restore", _restore),
    ("POST", "/api/folders/restore", _restore_folder),
    ("GET", "/api/devices", lambda d, f: _without_fields(d.devices, f)),
    ("POST", "/api/devices/remove", _remove_device),
    ("POST", "/api/devices/invite", lambda d, f: _without_fields(d.invite, f)),
    ("GET", "/api/relays", lambda d, f: _without_fields(d.list_relays, f)),
    ("POST", "/api/relays/add", _add_relay),
    ("POST", "/api/relays/remove", _remove_relay),
    ("GET", "/api/notifications", _notifications),
    ("POST", "/api/notifications/mark_as_read", _mark_as_read),
    ("GET", "/api/sync/transfers", lambda d, f: home_control.transfers(d.transfers, f)),
    ("POST", "/api/sync/transfers/pause", lambda d, f: home_control.pause(d.transfers, f)),
    ("POST", "/api/sync/transfers/resume", lambda d, f: home_control.resume(d.transfers, f)),
    ("GET", "/api/config", lambda d, f: home_control.settings(d.home_requests, f)),
    ("POST", "/api/config/set", lambda d, f: home_control.change(d.home_requests, f)),
    ("GET", "/api/log", lambda d, f: control_people.log(d.witness, f)),
    ("GET", "/api/users/profile", lambda d, f: control_people.profile(d.users, f)),
    ("POST", "/api/users/register", lambda d, f: control_people.register(d.users, f)),
    ("POST", "/api/users/login", lambda d, f: control_people.login(d.users, f)),
    ("PUT", "/api/folders/share", lambda d, f: control_people.share(d.users, f)),
    ("GET", "/api/links", lambda d, f: link_control.listed(d.share_links, f)),
    ("POST", "/api/links/create", lambda d, f: link_control.create(d.share_links, f)),
    ("POST", "/api/links/request", lambda d, f: link_control.request(d.share_links, f)),
    ("POST", "/api/links/revoke", lambda d, f: link_control.revoke(d.share_links, f)),
    ("GET", "/api/backups", lambda d, f: _without_fields(d.backups.every, f)),
    ("POST", "/api/backups/add", _add_backup),
    ("POST", "/api/backups/remove", _remove_backup),
    ("POST", "/api/backups/repair", _repair_backup),
    ("POST", "/api/kit", _show_kit),
    ("GET", "/api/daemon/log", lambda d, f: home_control.lines(d.log_lines, f)),
    ("POST", "/api/daemon/stop", lambda d, f: _without_fields(d.stop, f)),
)
"""Everything that can be asked of a daemon: one line each."""


async def _folder(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    folder_id = fields.text("folder_id")
    fields.end()
    found = [one for one in (await daemon.folders())["folders"] if one["id"] == folder_id]
    if not found:
        raise UnknownFolder
    return found[0]


async def _document(daemon: DaemonApi, fields: Fields) -> Mapping[str, Any]:
    fields.end()
    return document(version("holdfast"))


def _make_endpoint(daemon: DaemonApi, act: _Act) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            members = await read_members(request) | request.path_params
            is_query = request.method in ("GET", "HEAD")
            content = await act(daemon, Fields(dict(members), is_query=is_query))
            # What could not be done to any file is no deed: the trail says what was.
            is_vain = bool(content and content.get("failed") and not content.get("restored"))
            if not is_query and not is_vain:
                daemon.witness.acted(request.url.path, members)
        except PeerError as error:
            return problem(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:  # noqa: BLE001 - a door: a defect in one answer must not end the daemon.
            _log.exception("The request %s failed.", request.url.path)
            return problem(PeerError())
        answer = answer_of({} if content is None else content, 200, "application/json")
        if is_query and content is not None and content.get("next") is not None:
            following = request.url.include_query_params(cursor=content["next"])
            answer.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        return unless_known(answer, request.headers.get("if-none-match")) if is_query else answer

    return endpoint


def _make_events_endpoint(daemon: DaemonApi) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            stream = daemon.witness.events.follow(request.headers.get("last-event-id"))
        except TooManyReaders:
            return problem(PeerError("Too many programs follow the events already."), 503)
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(stream, 200, headers, "text/event-stream")

    return endpoint


async def _say_not_found(request: Request, error: Exception) -> Response:
    return problem(UsageError(f"There is nothing at {request.url.path}."), 404)


async def _say_defect(request: Request, error: Exception) -> Response:
    return problem(PeerError())


async def _say_wrong_method(request: Request, error: Exception) -> Response:
    return problem(UsageError(f"{request.url.path} does not know {request.method}."), 405)


_HANDLERS: Final[dict[Any, Any]] = {
    404: _say_not_found, 405: _say_wrong_method, Exception: _say_defect,
}  # fmt: skip


def make_app(daemon: DaemonApi, token: str) -> ASGIApp:
    """The API as an ASGI application, guards included."""
    routes = [
        Route(path, _make_endpoint(daemon, act), methods=[method]) for method, path, act in ROUTES
    ]
    routes += [
        Route(path, _make_endpoint(daemon, act), methods=["GET"])
        for path, act in (("/api/openapi.json", _document), (FOLDER_PATH, _folder))
    ]
    routes += control_files.routes(lambda: daemon.files)
    routes.append(Route(EVENTS_PATH, _make_events_endpoint(daemon), methods=["GET"]))
    return Guard(
        Starlette(routes=routes, exception_handlers=_HANDLERS),
        token,
        lambda other: daemon.users.accepts(other),
    )
