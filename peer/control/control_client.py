"""The other end of the control API: one request, one answer, over the socket in a home. Blocking,
and of the standard library.
"""

import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from peer.errors import (
    AccessRefused,
    DaemonNotRunning,
    DaemonSilent,
    NoDevice,
    PeerError,
    of_code,
)
from peer.status import (
    BackupEntry,
    BackupList,
    Choice,
    ConflictList,
    DeviceList,
    FileEntry,
    FolderEntry,
    FolderList,
    HoldAnswer,
    Invitation,
    KitSheet,
    LogLines,
    LogPage,
    NoticeList,
    Overview,
    RelayEntry,
    RelayList,
    RepairReport,
    RestoreReport,
    SearchAnswer,
    SettingEntry,
    SettingList,
    Status,
    Suggestions,
    TransferList,
    VersionBytes,
    VersionList,
)

SOCKET_NAME = "control.sock"
TOKEN_NAME = "control.token"  # noqa: S105 - the file's name
ANSWER_SIZE_MAX = 256 * 1024 * 1024
"""A status lists every path that is not synced, so it can be long; the daemon is ours, so this only
guards against a mix-up.
"""

EVENTS_SILENCE_S = 40.0
"""The daemon says at least that it is there every 15 s."""
REPAIR_TIMEOUT_S = 24 * 3600.0
RESTORE_TIMEOUT_S = 24 * 3600.0
"""Large files may have to come from another device first."""


class _SocketConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket, which is a symlink where the home's path is too long for one."""
        path = os.readlink(self._path) if self._path.is_symlink() else str(self._path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(path)


class _Answer(NamedTuple):
    status: int
    data: bytes
    etag: str


def suiting_scheme(nodes: int) -> tuple[int, int]:
    """What of so many nodes is needed where nothing is said: 4 of 7, 2 of 3, 1 of 2, 1 of 1."""
    return max(1, (nodes + 1) * 4 // 8), nodes


class ControlClient:
    """The daemon of one home. Every method raises the PeerError that the daemon named, or one that
    says why it has none.
    """

    def __init__(self, home: Path, timeout_s: float = 60) -> None:
        self._home = home
        self._timeout_s = timeout_s

    def status(self) -> Status:
        """Folders, links and totals."""
        return cast(Status, self.request("GET", "/api/sync/status"))

    def overview(self, etag: str, *, conflicts: bool, backups: bool) -> tuple[Overview | None, str]:
        """All that a screen shows at one look, and its ETag; None if that is still `etag`."""
        wanted = {"conflicts": conflicts, "backups": backups}
        query = "&".join(f"{name}=true" for name, is_wanted in wanted.items() if is_wanted)
        headers = {"If-None-Match": etag} if etag else {}
        answer = self._exchange("GET", f"/api/overview?{query}", None, headers, self._timeout_s)
        if answer.status == 304:
            return None, etag
        return cast(Overview, _read_answer(answer)), answer.etag

    def invite(self) -> Invitation:
        """A new code for another device."""
        return cast(Invitation, self.request("POST", "/api/devices/invite"))

    def add_folder(self, path: Path, name: str) -> FolderEntry:
        """Make a folder of a directory."""
        body = {"path": str(path.absolute()), "name": name}
        return cast(FolderEntry, self.request("POST", "/api/folders/create", body))

    def folders(self) -> FolderList:
        """The folders that this device knows."""
        return cast(FolderList, self.request("GET", "/api/folders"))

    def attach_folder(self, name_or_id: str, path: Path) -> FolderEntry:
        """Put a folder that another device offers on a path here."""
        body = {"folder": name_or_id, "path": str(path.absolute())}
        return cast(FolderEntry, self.request("POST", "/api/folders/attach", body))

    def remove_folder(self, name_or_id: str) -> None:
        """Stop to sync a folder here."""
        self.request("POST", "/api/folders/remove", {"folder": name_or_id})

    def devices(self) -> DeviceList:
        """The user's devices."""
        return cast(DeviceList, self.request("GET", "/api/devices"))

    def remove_device(self, name_or_id: str) -> None:
        """Make a device the user's no more."""
        self.request("POST", "/api/devices/remove", {"device": name_or_id})

    def add_relay(self, address: str, token: str | None = None) -> RelayEntry:
        """Use one more relay; of a closed one with the token of an invitation."""
        fields = {"address": address} | ({} if token is None else {"token": token})
        return cast(RelayEntry, self.request("POST", "/api/relays/add", fields))

    def relays(self) -> RelayList:
        """The relays of this device."""
        return cast(RelayList, self.request("GET", "/api/relays"))

    def remove_relay(self, address_or_host: str) -> None:
        """Use a relay no more."""
        self.request("POST", "/api/relays/remove", {"address": address_or_host})

    def pause(self, name_or_id: str | None = None) -> None:
        """Pause a folder, or all."""
        self.request("POST", "/api/sync/pause", {"folder": name_or_id})

    def resume(self, name_or_id: str | None = None) -> None:
        """Resume a folder, or all."""
        self.request("POST", "/api/sync/resume", {"folder": name_or_id})

    def pause_transfer(self, path: Path) -> None:
        """Let a file that is on its way wait."""
        self.request("POST", "/api/sync/transfers/pause", {"path": str(path.absolute())})

    def resume_transfer(self, path: Path) -> None:
        """Let it go on."""
        self.request("POST", "/api/sync/transfers/resume", {"path": str(path.absolute())})

    def answer(self, name_or_id: str, answer: HoldAnswer) -> None:
        """Answer a folder that asks."""
        self.request("POST", "/api/sync/answer", {"folder": name_or_id, "answer": answer.value})

    def conflicts(self) -> ConflictList:
        """The conflict copies of all folders."""
        return cast(ConflictList, self.request("GET", "/api/sync/conflicts"))

    def resolve(self, path: Path, choice: Choice) -> None:
        """Do what a person decided about a conflict copy."""
        body = {"path": str(path.absolute()), "keep": choice.value}
        self.request("POST", "/api/sync/conflict/resolve", body)

    def search(self, query: str, limit: int | None = None) -> SearchAnswer:
        """Files and directories by name."""
        return cast(
            SearchAnswer, self.request("POST", "/api/search", {"query": query, "limit": limit})
        )

    def suggest(self, query: str, limit: int | None = None) -> Suggestions:
        """What a query may become."""
        body = {"query": query, "limit": limit}
        return cast(Suggestions, self.request("POST", "/api/search/suggest", body))

    def versions(self, path: Path, *, is_deleted: bool = False) -> VersionList:
        """What a file is and was, or what was deleted below a directory."""
        body = {"path": str(path.absolute()), "deleted": is_deleted}
        return cast(VersionList, self.request("POST", "/api/versions", body))

    def restore(
        self, path: Path, version: int | None, at_s: int | None, out: Path | None
    ) -> RestoreReport:
        """Bring a version of a file back."""
        body = {
            "path": str(path.absolute()), "version": version, "at_s": at_s,
            "to": None if out is None else str(out.absolute()),
        }  # fmt: skip
        return cast(
            RestoreReport, self.request("POST", "/api/versions/restore", body, RESTORE_TIMEOUT_S)
        )

    def restore_folder(self, path: Path, at_s: int, *, is_dry: bool) -> RestoreReport:
        """Bring all files below a directory back to what they were."""
        body = {"path": str(path.absolute()), "at_s": at_s, "dry_run": is_dry}
        return cast(
            RestoreReport, self.request("POST", "/api/folders/restore", body, RESTORE_TIMEOUT_S)
        )

    def notifications(self, *, unread_only: bool = False) -> NoticeList:
        """What a person should hear of."""
        path = "/api/notifications" + ("?unread=true" if unread_only else "")
        return cast(NoticeList, self.request("GET", path))

    def mark_as_read(self, ids: Sequence[int] | None = None) -> int:
        """A person has read these notices, or all; how many they had not."""
        body = {} if ids is None else {"ids": list(ids)}
        return int(self.request("POST", "/api/notifications/mark_as_read", body)["marked"])

    async def events(self, last_id: str | None = None) -> AsyncIterator[tuple[str, str]]:
        """The id and the kind of what happens, as it happens, until the daemon stops; see
        `event_stream`. Raises as all else.
        """
        import asyncio

        import h11

        headers = [("Host", "localhost"), ("Authorization", f"Bearer {self._read_token()}")]
        if last_id is not None:
            headers.append(("Last-Event-ID", last_id))
        http = h11.Connection(h11.CLIENT)
        try:
            path = self._home / SOCKET_NAME
            name = os.readlink(path) if path.is_symlink() else str(path)
            reader, writer = await asyncio.open_unix_connection(name)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DaemonNotRunning() from error
        try:
            request = h11.Request(method="GET", target="/api/events", headers=headers)
            writer.write(http.send(request) + http.send(h11.EndOfMessage()))
            text = b""
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    async with asyncio.timeout(EVENTS_SILENCE_S):
                        http.receive_data(await reader.read(64 * 1024))
                elif isinstance(event, h11.Response) and event.status_code != 200:
                    raise PeerError(f"The daemon answered with status {event.status_code}.")
                elif isinstance(event, h11.Data):
                    *whole, text = (text + bytes(event.data)).split(b"\n\n")
                    for block in whole:
                        fields = dict(
                            line.split(b": ", 1) for line in block.split(b"\n") if b": " in line
                        )
                        if b"event" in fields:
                            yield fields[b"id"].decode(), fields[b"event"].decode()
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return
        except (OSError, h11.ProtocolError) as error:  # a TimeoutError is one of them
            raise DaemonSilent("The daemon ended the connection.") from error
        finally:
            writer.transport.abort()

    def add_backup(
        self, name_or_id: str, nodes: Sequence[str], needed: int, count: int
    ) -> BackupEntry:
        """Keep a folder at super-nodes."""
        body = {"folder": name_or_id, "nodes": list(nodes), "needed": needed, "count": count}
        return cast(BackupEntry, self.request("POST", "/api/backups/add", body))

    def remove_backup(self, name_or_id: str) -> None:
        """Keep it no more."""
        self.request("POST", "/api/backups/remove", {"folder": name_or_id})

    def repair_backup(self, name_or_id: str) -> RepairReport:
        """Store anew what is missing at super-nodes; all of a large folder takes its time."""
        body = {"folder": name_or_id}
        answer = self.request("POST", "/api/backups/repair", body, REPAIR_TIMEOUT_S)
        return cast(RepairReport, answer)

    def backups(self) -> BackupList:
        """How the copies stand."""
        return cast(BackupList, self.request("GET", "/api/backups"))

    def show_kit(self, kit: str) -> KitSheet:
        """Check a recovery kit; what is to be printed beside it."""
        return cast(KitSheet, self.request("POST", "/api/kit", {"kit": kit}))

    def read_version(self, path: Path, version: int) -> VersionBytes:
        """The beginning of an earlier version."""
        body = {"path": str(path.absolute()), "version": version}
        return cast(VersionBytes, self.request("POST", "/api/versions/read", body))

    def transfers(self) -> TransferList:
        """What is on its way to this device."""
        return cast(TransferList, self.request("GET", "/api/sync/transfers"))

    def settings(self) -> SettingList:
        """All settings."""
        return cast(SettingList, self.request("GET", "/api/config"))

    def set(self, key: str, value: str) -> SettingEntry:
        """Change a setting."""
        body = {"key": key, "value": value}
        return cast(SettingEntry, self.request("POST", "/api/config/set", body))

    def log(self, cursor: str | None = None) -> LogPage:
        """Who did what, the newest first: a page, or the one that a page's `next` names."""
        more = "" if cursor is None else f"?cursor={quote(cursor, safe='')}"
        return cast(LogPage, self.request("GET", f"/api/log{more}"))

    def log_lines(self, after: str | None = None) -> LogLines:
        """The newest lines of the daemon's log, or what came since an answer's `cursor`."""
        more = "" if after is None else f"?after={quote(after, safe='')}"
        return cast(LogLines, self.request("GET", f"/api/daemon/log{more}"))

    def file_at(self, path: Path) -> FileEntry:
        """What is shown at a path of this machine."""
        return cast(FileEntry, self.request("GET", f"/api/files/lookup?path={quote(str(path))}"))

    def read_file(self, file_id: str, size_max: int) -> bytes:
        """The beginning of a file."""
        path, headers = f"/api/files/download/{file_id}", {"Range": f"bytes=0-{size_max - 1}"}
        answer = self._exchange("GET", path, None, headers, self._timeout_s)
        if answer.status not in (200, 206):
            _read_answer(answer)
        return answer.data

    def write_file(self, file_id: str, data: bytes, etag: str) -> None:
        """New bytes for a file that is still what the ETag names."""
        headers = {"If-Match": etag, "Content-Type": "application/octet-stream"}
        path = f"/api/files/{file_id}"
        _read_answer(self._exchange("PUT", path, data, headers, self._timeout_s))

    def stop(self) -> None:
        """Have the daemon stop."""
        self.request("POST", "/api/daemon/stop")

    def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """One request on a connection of its own; the answer's JSON object."""
        headers: dict[str, str] = {}
        content = None
        if method != "GET":
            headers["Content-Type"] = "application/json"
            content = json.dumps(body or {}).encode()
        return _read_answer(
            self._exchange(method, path, content, headers, timeout_s or self._timeout_s)
        )

    def _exchange(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
        timeout_s: float,
    ) -> _Answer:
        """One request, and what came."""
        token = self._read_token()
        answer = self._ask(method, path, content, headers, timeout_s, token)
        if answer.status == 401 and (newer := self._read_token()) != token:
            # A daemon began between the reading of its file and the request, which it has not done.
            return self._ask(method, path, content, headers, timeout_s, newer)
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
        timeout_s: float,
        token: str,
    ) -> _Answer:
        connection = _SocketConnection(self._home / SOCKET_NAME, timeout_s)
        headers = {"Authorization": f"Bearer {token}", **headers}
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            data = answer.read(ANSWER_SIZE_MAX)
            return _Answer(answer.status, data, answer.headers.get("ETag", ""))
        except TimeoutError as error:
            raise DaemonSilent() from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DaemonNotRunning() from error
        except PermissionError as error:
            raise AccessRefused(f"You may not use the daemon of {self._home}.") from error
        except (OSError, HTTPException) as error:
            raise DaemonSilent("The daemon ended the connection before it answered.") from error
        finally:
            connection.close()

    def _read_token(self) -> str:
        try:
            return (self._home / TOKEN_NAME).read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            if (self._home / "key").exists():
                raise DaemonNotRunning() from error
            raise NoDevice() from error
        except PermissionError as error:
            raise AccessRefused(f"You may not use the daemon of {self._home}.") from error


def _read_answer(came: _Answer) -> dict[str, Any]:
    """The answer's object, or the error that it describes."""
    status = came.status
    try:
        answer = json.loads(came.data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise PeerError(f"The daemon's answer is no JSON object (status {status}).")
    if status != 200:
        detail = answer.get("detail", f"The daemon answered with status {status}.")
        raise of_code(str(answer.get("code")), str(detail))
    return answer
