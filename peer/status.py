"""What a daemon says of itself: the shapes that `--json` prints and scripts rely on.

A key that stands here is never renamed or given another meaning; new ones may be added. Sizes are
bytes, ids are lower-case hex.
"""

from enum import StrEnum
from typing import Any, NotRequired, TypedDict


class FolderState(StrEnum):
    """How a folder stands on this device; the first that applies of this order is shown."""

    OFFERED = "offered"
    """Shared with this device, but attached to no path here yet."""
    PAUSED = "paused"
    """Nothing is sent, fetched or written until it is resumed."""
    NO_DISK = "no disk"
    """The folder's marker is not on its path: the disk is not there, and nothing is taken for
    deleted.
    """
    ASKING = "asking"
    """More was deleted or rewritten at once than usual; a person has to say if it was meant."""
    NO_SPACE = "no space"
    """The disk is too full to write what is needed; it goes on by itself when there is space."""
    SCANNING = "scanning"
    """The disk is being compared with what was there before."""
    SYNCING = "syncing"
    """Something is being fetched, written or still to be sent out."""
    TROUBLE = "trouble"
    """All that can be synced is; each of `errors` names a path that cannot, and why."""
    PARTLY_PAUSED = "partly paused"
    """All is synced but for the bytes of files that a person has paused."""
    IN_SYNC = "in sync"
    """Disk and replica agree; `errors` may name pipes, sockets and devices, which are skipped."""


class PathProblem(TypedDict):
    """A file or directory that is not synced."""

    path: str
    """From the folder's root, with `/` on every platform."""
    reason: str
    """One sentence: what is wrong, and what to do."""


class FolderStatus(TypedDict):
    """One folder on this device."""

    id: str
    name: str
    path: str | None
    state: str
    """One of FolderState."""
    files: int
    bytes: int
    """Files of the folder, and the bytes in them, that are on this disk."""
    need_files: int
    need_bytes: int
    """Files that are still to be written here, and the bytes still to be fetched for them."""
    errors: list[PathProblem]
    paused_files: NotRequired[int]
    """Files among the needed whose bytes wait because a person has paused them."""
    paused_bytes: NotRequired[int]
    """What is to come of these, which is not in `need_bytes`."""
    kept_versions: NotRequired[int]
    """Earlier versions of files that are kept on this disk, and below their bytes, as of a few
    minutes ago.
    """
    kept_bytes: NotRequired[int]
    checked_s: NotRequired[int]
    """All files that were here at this time, in seconds since 1970, were read again since."""
    damaged_files: NotRequired[int]
    """Files that the disk has changed by itself, and those brought back within 30 days."""
    question: NotRequired[str]
    """The sentence that a folder in the state `asking` waits to have answered."""
    possibly_stale_s: NotRequired[float]
    """Seconds since any other device was heard of, once that is more than a day."""
    warnings: NotRequired[list[str]]
    """What a person should know though all is synced: a device has told two histories, or something
    that no honest device signs. A sentence for each device, and what to do.
    """


class LinkStatus(TypedDict):
    """One authenticated connection."""

    device: str
    name: str
    kind: str
    """`tls` or `quic`; `relayed` where a relay carries it."""
    path: str
    """One of ways.Path: `lan`, `direct`, `mapped` or `relayed`."""
    address: str
    """For a relayed link the relay's."""
    round_trip_s: float | None
    """To the other device and back; None while it was not measured."""
    direct_problem: str
    """For a relayed link a sentence: why it is not a direct one. Else empty."""
    sent_bytes: int
    received_bytes: int
    sent_bytes_s: float
    """An average of the last seconds."""
    received_bytes_s: float


class Totals(TypedDict):
    """All links since the daemon started, those that are gone included."""

    sent_bytes: int
    received_bytes: int


class DeviceEntry(TypedDict):
    """One of the user's devices."""

    id: str
    name: str
    this: bool
    """Whether it is the one that answers."""
    connected: bool
    last_seen_s: float | None
    """Seconds since it was last connected; None when it never was."""


class Status(TypedDict):
    """The answer to `status`."""

    device: DeviceEntry
    folders: list[FolderStatus]
    links: list[LinkStatus]
    totals: Totals


class FolderEntry(TypedDict):
    """One row of `folder list`; `path` is None until the folder is attached."""

    id: str
    name: str
    path: str | None
    state: str


class FolderList(TypedDict):
    """The answer to `folder list`."""

    folders: list[FolderEntry]


class DeviceList(TypedDict):
    """The answer to `devices`."""

    devices: list[DeviceEntry]


class Invitation(TypedDict):
    """The answer to `invite`: the code to type on the other device, and how long it holds."""

    code: str
    expires_s: float
    relays: list[str]
    """Addresses of the relays at which `join CODE --relay ADDRESS` finds this device."""


class RelayEntry(TypedDict):
    """One relay that this device uses."""

    address: str
    connected: bool
    problem: str
    """Why there is no link to it; empty if there is one."""


class RelayList(TypedDict):
    """The answer to `relay list`."""

    relays: list[RelayEntry]


class VersionEntry(TypedDict):
    """What a file is or was."""

    version: int
    """Its number on this device; 0 for what is there now."""
    path: str
    """Where it is or was last, from the folder's root."""
    size: int
    written_s: int
    """When it was written, in seconds since 1970."""
    ended_s: int | None
    """When it was replaced or deleted, as this device saw it; None for what is there now."""
    device: str
    """The name of the device that wrote it; empty when that is not known."""
    deleted: bool
    """Whether nothing took its place."""
    here: bool
    """Whether its bytes are on this device; else they are asked of the others."""


class VersionList(TypedDict):
    """The answer to `versions`."""

    path: str
    """What was asked for."""
    root: str
    """Where the folder is that the paths of the versions begin in."""
    versions: list[VersionEntry]


class VersionBytes(TypedDict):
    """The beginning of an earlier version, to look at."""

    version: int
    size: int
    data: str
    """In base64; at most 256 KiB of it."""


class TransferEntry(TypedDict):
    """A file that this device is fetching."""

    folder: str
    folder_id: str
    path: str
    """From the folder's root; empty while that is not known."""
    size: int
    done_bytes: int
    paused: bool
    """Whether it waits because a person has paused it."""


class UnderWayEntry(TypedDict):
    """Something that the daemon does because it was asked to, and has not answered yet."""

    act: str
    """restore (of a directory), link (made of a path), or repair (of a folder's copies)."""
    subject: str
    """The path, or the folder as it was named."""
    unit: str
    """bytes, files or packs."""
    done: int
    size: int
    """0 while it is not known."""


class TransferList(TypedDict):
    """The answer to `GET /api/sync/transfers`: what was begun first, then the largest."""

    transfers: list[TransferEntry]
    more: int
    """So many are not in the list."""
    under_way: list[UnderWayEntry]


class SettingEntry(TypedDict):
    """One setting; its values as `config.toml` has them."""

    key: str
    value: str
    default: str
    allowed: str
    """Completes the sentence "allowed is ..."."""


class SettingList(TypedDict):
    """The answer to `GET /api/config`."""

    settings: list[SettingEntry]


class Choice(StrEnum):
    """What a person can decide."""

    ORIGINAL = "original"
    """The file stays, and the copy goes."""
    COPY = "copy"
    """The copy takes the file's place."""
    BOTH = "both"
    """The copy becomes a file of its own, under a name of its own."""

    @property
    def outcome(self) -> str:
        """What a person is told when it was done."""
        return {
            Choice.ORIGINAL: "The file stays, and the copy is gone.",
            Choice.COPY: "The copy has taken the file's place.",
            Choice.BOTH: "Both are files now, each under its own name.",
        }[self]


class Profile(TypedDict):
    """Who the user of this device is."""

    user: str
    """The user's id, the same on all devices."""
    device: DeviceEntry
    devices: int
    """How many the user has."""
    folders: int
    locked: NotRequired[bool]
    """Whether the key file has a passphrase, so that a login is possible."""


class Login(TypedDict):
    """A token that stands in for that of `control.token`."""

    token: str
    expires_s: float


class LogPage(TypedDict):
    """Entries of the audit trail, the newest first."""

    entries: list[dict[str, Any]]
    """Each with `number`, `time`, `what`, `text` (a sentence) and what else that kind has."""
    next: str | None
    """The cursor of the page that follows; None if there is none."""


class LogLine(TypedDict):
    """One line of the daemon's log."""

    number: int
    """Counted up within one run of the daemon."""
    time: float
    level: str
    """debug, info, warning, error or critical."""
    name: str
    """The part of the program that says it."""
    text: str
    """One line, and below it the traceback where there is one."""


class LogLines(TypedDict):
    """The answer to `GET /api/daemon/log`: the oldest first."""

    lines: list[LogLine]
    cursor: str
    """What to give as `after`, to be told only what came since."""


class ConflictEntry(TypedDict):
    """One conflict copy."""

    folder: str
    path: str
    """Of the copy, from the folder's root."""
    place: str
    """Its path on this machine."""
    original: str
    """What it is a copy of, from the folder's root."""
    device: str
    """The device that wrote it; empty when that is not known."""
    written_s: int
    size: int


class ConflictList(TypedDict):
    """The answer to `conflicts`."""

    conflicts: list[ConflictEntry]


class SearchEntry(TypedDict):
    """A file or directory that was looked for."""

    folder: str
    path: str
    """From the folder's root."""
    place: str
    """Its path on this machine."""
    directory: bool
    size: int
    modified_s: float | None
    """None for a directory."""
    owner: NotRequired[str]
    """The name of the device that wrote it; empty when that is not known."""
    matched: NotRequired[str]
    """`name`: its name, or that of a directory above it; `text`: what is in it."""
    snippet: NotRequired[str]
    """The place in its text that matched, on one line; empty for a name."""


class Suggestions(TypedDict):
    """What somebody may be about to type."""

    query: str
    suggestions: list[str]
    """Whole queries."""


class SearchAnswer(TypedDict):
    """The answer to `search`, the best first."""

    query: str
    found: list[SearchEntry]
    more: bool
    """Whether there is more than was asked for."""


class FileEntry(TypedDict):
    """One file or symlink of a folder."""

    id: str
    """The same on every device, and through renames."""
    folder: str
    path: str
    """From the folder's root."""
    place: str
    """Its path on this machine."""
    type: str
    """`file` or `symlink`."""
    size: int
    executable: bool
    modified_s: float
    written_s: int
    """When its bytes were written, by the clock of the device that wrote them; 0 if not known."""
    device: str
    """The name of that device; empty if not known."""
    etag: str
    """What names its bytes, as HTTP has it: with its quotes."""


class RestoreReport(TypedDict):
    """The answer to `restore` and `restore-folder`."""

    restored: list[str]
    """Paths: in the folder, or the absolute one that was asked for."""
    failed: list[PathProblem]
    unchanged: int
    """Files that are what they were at that time."""


class NoticeEntry(TypedDict):
    """Something that a person should hear of."""

    id: int
    time_s: int
    """When it was said last, in seconds since 1970."""
    priority: str
    """`trouble`, `question` or `news`."""
    kind: str
    folder: str
    text: str
    """A sentence."""
    count: int
    """How many of its kind it tells of at once."""
    read: bool
    over: bool
    """Whether what it tells of is so no more."""


class NoticeList(TypedDict):
    """The answer to `notifications`: unread before read, trouble before news, the newest first."""

    notifications: list[NoticeEntry]
    unread: int
    """Of all, also of those that are not in the list."""


class HoldAnswer(StrEnum):
    """What a person can say to a folder that asks."""

    ACCEPT = "accept"
    """It was meant: the other devices shall follow."""
    RESTORE = "restore"
    """It was not meant: bring back what was there before."""


class KitSheet(TypedDict):
    """What is printed on a recovery kit."""

    kit: str
    """84 characters in 14 groups."""
    user: str
    relays: list[str]
    """Addresses, those of super-nodes first."""


class BackupNode(TypedDict):
    """One super-node of a folder's copies."""

    address: str
    connected: bool
    problem: str
    """Why there is no link to it, or what it refuses; empty if all is well."""
    owner: str
    region: str
    shares: int
    """That it is known to hold of this folder."""
    broken: int
    """Shares that it signed to hold and was found not to."""
    free_bytes: int
    """That it would still take in all."""


class DomainShares(TypedDict):
    """What may be lost together, and how much of a folder's copies lies there."""

    kind: str
    """owner, network or region."""
    name: str
    shares: int


class CopiesOutlook(TypedDict):
    """How likely one pack is lost within a year."""

    loss_in_a_year: float | None
    """None: it cannot be said."""
    reason: str
    """Why not; else empty."""
    assumptions: list[str]
    """What has to be so for the number to be right."""


class BackupEntry(TypedDict):
    """The copies of one folder."""

    folder: str
    id: str
    scheme: str
    """K/N: any K of N shares are enough."""
    state: str
    """waiting, storing, watching, up to date, or trouble."""
    problem: str
    health: str
    """healthy, degraded, at risk, lost, or empty."""
    packs: int
    pack_bytes: int
    stored_bytes: int
    """Over all nodes."""
    healthy: int
    """Packs of which all shares are held."""
    degraded: int
    """Packs that lack shares, and have some to spare."""
    at_risk: int
    """Packs with just as many shares as are needed."""
    lost: int
    """Packs with fewer."""
    stored_until_s: int | None
    """Everything that was on this device's disk then is stored; None: not yet."""
    unverified_s: int | None
    """The age of the byte that was last found right longest ago; None if that is not known."""
    sampled_leaves: int
    """Pieces of 64 KiB of what was new that this device has fetched back, to see whether they are
    right.
    """
    sampled_wrong: int
    """Of these not as they had to be, or not to be had."""
    sampled_s: int | None
    """When that was done the last time, in seconds since 1970."""
    heals: int
    """Shares that were made again so far, by this device, or by others as it noticed."""
    healed_s: int | None
    """When that was the last time, in seconds since 1970."""
    domains: list[DomainShares]
    outlook: CopiesOutlook
    nodes: list[BackupNode]
    warnings: list[str]
    """What a person should know: too few independent nodes, for instance."""


class RepairReport(TypedDict):
    """What came of `holdfast backup repair`."""

    folder: str
    rebuilt: int
    """Shares that were made again and stored."""
    lacking: int
    """Packs that lack shares all the same: there are too few nodes for them."""
    lost: int
    """Packs of which too few shares are to be had to make any."""
    away: list[str]
    """Nodes that could not be reached: their shares were stored anew where there was a place."""


class BackupList(TypedDict):
    """What `holdfast backup status` prints."""

    backups: list[BackupEntry]
    kit: bool
    """Whether this device keeps what a recovery kit finds the copies by."""


class Overview(TypedDict):
    """The answer to `GET /api/overview`: all that a screen shows at one look."""

    status: Status
    devices: list[DeviceEntry]
    """Their ages are whole minutes, so that nothing changes while nothing happens."""
    relays: list[RelayEntry]
    notifications: NoticeList
    transfers: TransferList
    conflicts: NotRequired[list[ConflictEntry]]
    """If asked for by `conflicts=true`."""
    backups: NotRequired[BackupList]
    """If asked for by `backups=true`."""
