"""The OpenAPI document of the control API, made from the shapes that its answers have."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, TypedDict

from msgspec import Meta
from msgspec.json import schema_components

from peer import status as s
from peer.share_links.link_control import LinkEnd
from peer.share_links.link_entries import LinkListing, NewLinkEntry, UploadLinkEntry

Text = Annotated[str, Meta(min_length=1)]
Place = Annotated[str, Meta(pattern=r"^/[^\u0000]*$", description="An absolute path.")]
Number = Annotated[int, Meta(ge=0, lt=1 << 62)]


class Problem(TypedDict):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """The error's name for programs."""
    exit_code: int
    """What the command line ends with."""


class Nothing(TypedDict):
    """It was done."""


class FolderChoice(TypedDict):
    """One folder."""

    folder: Text
    """Its name or id."""


class FolderOrAll(TypedDict):
    """One folder, or all."""

    folder: NotRequired[Text | None]


class HoldReply(TypedDict):
    """A person's word on many changes."""

    folder: Text
    answer: Literal["accept", "restore"]


class NewFolder(TypedDict):
    """A directory to be synced."""

    path: Place
    name: Text


class FolderPlace(TypedDict):
    """Where an offered folder is to be."""

    folder: Text
    path: Place


class FilePlace(TypedDict):
    """A file, by its path on this machine."""

    path: Place


class FolderTime(TypedDict):
    """To what time a directory is to go back."""

    path: Place
    at_s: Number
    dry_run: NotRequired[bool]


class Decision(TypedDict):
    """What becomes of a conflict copy."""

    path: Place
    keep: Literal["original", "copy", "both", "merged"]
    text: NotRequired[str]
    """With `merged`, and then it must be there: what a person made of both."""


class Registration(TypedDict):
    """A new identity."""

    name: NotRequired[Text | None]
    passphrase: NotRequired[Text | None]


class Credentials(TypedDict):
    """What opens the key file."""

    passphrase: Text


class Sharing(TypedDict):
    """Which folder is to be whose."""

    folder: NotRequired[Text | None]
    user: NotRequired[Text | None]
    role: NotRequired[Text | None]


class Search(TypedDict):
    """What is looked for."""

    query: Text
    limit: NotRequired[Number | None]


class PathChoice(TypedDict):
    """A file, or with `deleted` a directory."""

    path: Place
    deleted: NotRequired[bool]


class VersionChoice(TypedDict):
    """Which version is to come back, and where to."""

    path: Place
    version: NotRequired[Number | None]
    at_s: NotRequired[Number | None]
    to: NotRequired[Place | None]


class VersionToRead(TypedDict):
    """Which version is to be looked at."""

    path: Place
    version: Number


class Change(TypedDict):
    """A setting, and its value as in `config.toml`; plain text needs no quotes."""

    key: Text
    value: Text


class FileVersionChoice(TypedDict):
    """Which version of a file is to come back."""

    version: NotRequired[Number | None]
    at_s: NotRequired[Number | None]


class DeviceChoice(TypedDict):
    """One device."""

    device: Text


class NewRelay(TypedDict):
    """A relay to meet at."""

    address: Text
    token: NotRequired[Text | None]


class RelayChoice(TypedDict):
    """One relay, by its address or host."""

    address: Text


class NewLink(TypedDict):
    """What a share link gives, and for how long."""

    path: Place
    name: NotRequired[Text | None]
    relay: NotRequired[Text | None]
    password: NotRequired[Text | None]
    lifetime_s: NotRequired[Number | None]
    downloads_max: NotRequired[Number | None]


class NewUploadLink(TypedDict):
    """Where files are to come in, how many, and for how long."""

    path: Place
    name: NotRequired[Text | None]
    relay: NotRequired[Text | None]
    password: NotRequired[Text | None]
    lifetime_s: NotRequired[Number | None]
    files_max: NotRequired[Number | None]
    file_bytes_max: NotRequired[Number | None]
    bytes_max: NotRequired[Number | None]


class LinkChoice(TypedDict):
    """A share link, by its URL or id."""

    link: Text


class NewBackup(TypedDict):
    """Which folder is to be kept, and where."""

    folder: Text
    nodes: list[Text]
    """Addresses of relays that store."""
    needed: Number
    """k: so many shares are enough."""
    count: Number
    """n: so many there are."""


class KitText(TypedDict):
    """The 84 characters of a recovery kit."""

    kit: Text


class Marks(TypedDict):
    """Which notices were read; all if there are no ids."""

    ids: NotRequired[Annotated[list[Number], Meta(max_length=1000)] | None]


class Marked(TypedDict):
    """How many had not been read."""

    marked: int


class Uploaded(TypedDict):
    """The file, if it has been scanned already."""

    file: s.FileEntry | None


class Operation(NamedTuple):
    """What one route takes and gives."""

    what: str
    takes: Any = None
    """The shape of the body; None for none, BYTES for those of a file."""
    gives: Any = Nothing
    query: tuple[tuple[str, bool, dict[str, Any]], ...] = ()
    """What stands behind the address: name, whether it must, and the value's schema."""


BYTES: Final = "bytes"
STREAM: Final = "stream"
_TEXT: Final = {"type": "string", "minLength": 1}
_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": (1 << 62) - 1}
_LOG_CURSOR: Final = "^[0-9a-f]{8}-[0-9]{1,15}$"
_LIMIT: Final = ("limit", False, _NUMBER)
OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/api/sync/status"): Operation("How everything stands", gives=s.Status),
    ("GET", "/api/overview"): Operation(
        "All that a screen shows at one look; as everywhere, 304 if its ETag is in If-None-Match",
        gives=s.Overview,
        query=(("conflicts", False, {"type": "boolean"}), ("backups", False, {"type": "boolean"})),
    ),
    ("POST", "/api/sync/pause"): Operation("Send, fetch and write nothing", FolderOrAll),
    ("POST", "/api/sync/resume"): Operation("Go on after a pause", FolderOrAll),
    ("POST", "/api/sync/answer"): Operation("Answer a folder that asks", HoldReply),
    ("GET", "/api/sync/conflicts"): Operation("All conflict copies", gives=s.ConflictList),
    ("POST", "/api/sync/conflict/resolve"): Operation("Decide about a conflict copy", Decision),
    ("GET", "/api/folders"): Operation("All folders", gives=s.FolderList),
    ("GET", "/api/folders/{folder_id}"): Operation("One folder", gives=s.FolderEntry),
    ("POST", "/api/folders/create"): Operation("Sync a directory", NewFolder, s.FolderEntry),
    ("POST", "/api/folders/attach"): Operation(
        "Put an offered folder on a path", FolderPlace, s.FolderEntry
    ),
    ("POST", "/api/folders/remove"): Operation("Stop to sync a folder here", FolderChoice),
    ("POST", "/api/folders/restore"): Operation(
        "Bring a directory back to a time", FolderTime, s.RestoreReport
    ),
    ("POST", "/api/search"): Operation("Find files by name and text", Search, s.SearchAnswer),
    ("POST", "/api/search/suggest"): Operation("What a query may become", Search, s.Suggestions),
    ("POST", "/api/versions"): Operation("What a file was", PathChoice, s.VersionList),
    ("POST", "/api/versions/read"): Operation(
        "The beginning of a version", VersionToRead, s.VersionBytes
    ),
    ("GET", "/api/sync/transfers"): Operation("What is on its way", gives=s.TransferList),
    ("POST", "/api/sync/transfers/pause"): Operation(
        "Let a file that is on its way wait; a newer version of it waits as well", FilePlace
    ),
    ("POST", "/api/sync/transfers/resume"): Operation("Let it go on", FilePlace),
    ("GET", "/api/config"): Operation("All settings", gives=s.SettingList),
    ("POST", "/api/config/set"): Operation("Change a setting", Change, s.SettingEntry),
    ("POST", "/api/versions/restore"): Operation(
        "Bring a version back", VersionChoice, s.RestoreReport
    ),
    ("GET", "/api/devices"): Operation("All devices of the user", gives=s.DeviceList),
    ("POST", "/api/devices/remove"): Operation("Put a device out, for good", DeviceChoice),
    ("POST", "/api/devices/invite"): Operation("Show a code for a device", gives=s.Invitation),
    ("GET", "/api/relays"): Operation("All relays", gives=s.RelayList),
    ("POST", "/api/relays/add"): Operation("Meet at one more relay", NewRelay, s.RelayEntry),
    ("POST", "/api/relays/remove"): Operation("Use a relay no more", RelayChoice),
    ("GET", "/api/notifications"): Operation(
        "What a person should hear of", gives=s.NoticeList,
        query=(("unread", False, {"type": "boolean"}), _LIMIT),
    ),
    ("POST", "/api/notifications/mark_as_read"): Operation("They were read", Marks, Marked),
    ("GET", "/api/events"): Operation("What happens, as it happens", gives=STREAM),
    ("GET", "/api/openapi.json"): Operation("This document", gives=dict[str, Any]),
    ("GET", "/api/log"): Operation(
        "The audit trail, the newest first", gives=s.LogPage,
        query=(
            _LIMIT, ("cursor", False, _TEXT), ("since_s", False, _NUMBER),
            ("until_s", False, _NUMBER), ("folder", False, _TEXT), ("by", False, _TEXT),
            ("what", False, _TEXT),
        ),
    ),
    ("GET", "/api/users/profile"): Operation("Who the user is", gives=s.Profile),
    ("POST", "/api/users/register"): Operation("A new identity", Registration),
    ("POST", "/api/users/login"): Operation("A token for the passphrase", Credentials, s.Login),
    ("PUT", "/api/folders/share"): Operation("Give a folder to another user", Sharing),
    ("GET", "/api/links"): Operation("All share links", gives=LinkListing),
    ("POST", "/api/links/create"): Operation("Make a share link", NewLink, NewLinkEntry),
    ("POST", "/api/links/request"): Operation(
        "Make a link by which files come in", NewUploadLink, UploadLinkEntry
    ),
    ("POST", "/api/links/revoke"): Operation("End a share link", LinkChoice, LinkEnd),
    ("GET", "/api/backups"): Operation("Copies at super-nodes", gives=s.BackupList),
    ("POST", "/api/backups/add"): Operation("Keep a folder there", NewBackup, s.BackupEntry),
    ("POST", "/api/backups/remove"): Operation("Keep a folder there no more", FolderChoice),
    ("POST", "/api/backups/repair"): Operation(
        "Store anew what is missing there", FolderChoice, s.RepairReport
    ),
    ("POST", "/api/kit"): Operation("Check a recovery kit to print it", KitText, s.KitSheet),
    ("GET", "/api/daemon/log"): Operation(
        "The newest lines of the daemon's log", gives=s.LogLines,
        query=(_LIMIT, ("after", False, {"type": "string", "pattern": _LOG_CURSOR})),
    ),
    ("POST", "/api/daemon/stop"): Operation("Have the daemon stop"),
    ("GET", "/api/files/lookup"): Operation(
        "A file by its path on this machine", gives=s.FileEntry,
        query=(("path", True, {"type": "string", "pattern": "^/"}),),
    ),
    ("GET", "/api/files/metadata/{file_id}"): Operation("What a file is", gives=s.FileEntry),
    ("GET", "/api/files/download/{file_id}"): Operation("A file's bytes, or a range", gives=BYTES),
    ("GET", "/api/files/versions/{file_id}"): Operation("What a file was", gives=s.VersionList),
    ("POST", "/api/files/upload"): Operation(
        "A new file", BYTES, Uploaded, query=(("folder", True, _TEXT), ("path", True, _TEXT))
    ),
    ("POST", "/api/files/restore/{file_id}"): Operation(
        "Bring a version of a file back", FileVersionChoice, s.RestoreReport
    ),
    ("PUT", "/api/files/{file_id}"): Operation("New bytes for a file", BYTES),
    ("DELETE", "/api/files/delete/{file_id}"): Operation("Delete a file on all devices"),
}  # fmt: skip
"""Every route; a test compares them with those that there are."""


def document(version: str) -> dict[str, Any]:
    """The whole document."""
    types = [Problem]
    for operation in OPERATIONS.values():
        types += [t for t in (operation.takes, operation.gives) if t not in (None, BYTES, STREAM)]
    schemas, components = schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = {id(one): schema for one, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _describe(method, path, operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast", "version": version, "description": "One device's daemon."},
        "servers": [{"url": "http://localhost"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe(
    method: str, path: str, operation: Operation, schema_of: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    def content(shape: Any) -> dict[str, Any]:
        if shape == BYTES:
            return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        if shape == STREAM:
            return {"text/event-stream": {"schema": {"type": "string"}}}
        return {"application/json": {"schema": schema_of[id(shape)]}}

    parameters = [
        {"name": name, "in": "query", "required": must, "schema": schema}
        for name, must, schema in operation.query
    ]
    if "{" in path:
        name = path.partition("{")[2].rstrip("}")
        pattern = "^[0-9a-f]{64}$" if name == "folder_id" else "^[0-9a-f]{64}[.][0-9a-f]{32}$"
        schema = {"type": "string", "pattern": pattern}
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    refusal = {"schema": schema_of[id(Problem)]}
    described: dict[str, Any] = {
        "summary": operation.what,
        "operationId": f"{method.lower()}{path.replace('/', '_').translate(_NO_BRACES)}",
        "responses": {
            "200": {"description": operation.what, "content": content(operation.gives)},
            "default": {
                "description": "It was not done.",
                "content": {"application/problem+json": refusal},
            },
        },
    }
    if parameters:
        described["parameters"] = parameters
    if operation.takes is not None:
        described["requestBody"] = {"required": True, "content": content(operation.takes)}
    return described


_NO_BRACES: Final = {ord("{"): None, ord("}"): None, ord("."): "_"}
