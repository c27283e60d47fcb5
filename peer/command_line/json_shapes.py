"""What each command prints with `--json`, as types, and JSON.md made of them: a test compares the
two, and what commands print with the types.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final, NotRequired, TypedDict, get_args, get_type_hints

from peer import status as s
from peer.share_links.link_control import LinkEnd
from peer.share_links.link_entries import LinkListing, NewLinkEntry, UploadLinkEntry


class Done(TypedDict):
    """An empty object: it was done."""


class NewDevice(TypedDict):
    """A device that was made."""

    home: str
    device: str
    user: str
    name: str
    recovery_kit: NotRequired[str]
    """84 characters in 14 groups; of the first device alone, and shown once."""


class JoinedDevice(TypedDict):
    """A device that was made one of somebody's."""

    home: str
    device: str
    user: str
    name: str
    check: str
    """The number that the other device shows as well."""


# Its sixth key, the name of the device that it was joined to, is a word of Python's.
JoinedDevice.__annotations__["with"] = str


class RecoveredFolder(TypedDict):
    """A folder that the kit has found."""

    id: str
    name: str
    path: str | None
    """None without --to: `folder attach` puts it somewhere."""


class Recovered(TypedDict):
    """A device that was made by the kit."""

    home: str
    device: str
    user: str
    written_s: int
    """When what was found was written, in seconds since 1970."""
    folders: list[RecoveredFolder]
    devices: int
    """Of the user, this one among them."""
    others: list[str]
    """The ids of the others, which may be lost: `devices remove` takes one."""


class PrintedKit(TypedDict):
    """A sheet that was written."""

    out: str
    user: str
    relays: list[str]


class DoctorCheck(TypedDict):
    """One thing that was looked at."""

    name: str
    is_well: bool
    finding: str
    cure: str | None


class DoctorReport(TypedDict):
    """What keeps Holdfast from working, if anything."""

    checks: list[DoctorCheck]


class DemoStep(TypedDict):
    """One thing that was done on one device and seen on the other."""

    name: str
    what: str
    time_s: float
    sent_bytes: int
    is_verified: bool


class DemoReport(TypedDict):
    """What the demo found."""

    steps: list[DemoStep]
    is_verified: bool


class DurabilityRow(TypedDict):
    """How likely a pack is lost within a year, for one time of repair."""

    repair_h: float
    formula: float
    chance: list[float]
    """Played by chance: the mean, and the bounds of 95 %."""


class Durability(TypedDict):
    """How likely copies are lost."""

    scheme: str
    nodes: int
    assumptions: list[str]
    rows: list[DurabilityRow]
    without_repair: float
    plot: str | None


class LogEntries(TypedDict):
    """Entries of the audit trail, the oldest first."""

    entries: list[dict[str, Any]]
    """`number`, `time` (seconds since 1970), `what`, `text` (a sentence), and what is to it."""


class HeldTrail(TypedDict):
    """What this device holds of another one's trail, signed."""

    device: str
    name: str
    entries: int
    signed_s: int
    seen_s: int
    """When the device last showed a trail in keeping with it, in seconds since 1970; 0: never."""
    problem: str
    """What contradicts it; empty if nothing does."""


class TrailVerdict(TypedDict):
    """What checking the trail came to."""

    device_id: str | None
    entries: int
    first: int
    last: int
    signed: int
    """The last entry that a signature covers."""
    problems: list[str]
    """Empty if it holds."""
    notes: list[str]
    held: list[HeldTrail]


class Marked(TypedDict):
    """How many notices had not been read."""

    marked: int


class ServicePlace(TypedDict):
    """A service, and the file that describes it."""

    name: str
    path: str


class ServiceName(TypedDict):
    """A service that is no more."""

    name: str


class ServiceState(TypedDict):
    """How a service stands."""

    name: str
    path: str
    state: str
    """`absent`, or the service manager's own word."""


class Settings(TypedDict):
    """A key for each setting, or the one that was asked for: its name as in `config.toml`, with its
    value as it would stand there.
    """


class Script(TypedDict):
    """What completes commands in a shell."""

    script: str


class GotLink(TypedDict):
    """What a share link gave."""

    names: list[str]
    directory: str
    files: int
    bytes: int
    seconds: float


class RelayStarted(TypedDict):
    """Printed when the relay can be reached, and not at its end."""

    address: str
    web: str | None


class RelayExample(TypedDict):
    """`relay.toml` with every key."""

    example: str


class RelayToken(TypedDict):
    """An invitation."""

    token: str


class RelayInvitation(TypedDict):
    """One invitation of a closed relay."""

    name: str
    devices: int
    """That it has let in."""
    devices_max: int
    expires_s: int


class RelayInvitations(TypedDict):
    """All of them."""

    invitations: list[RelayInvitation]


class RelayWithdrawn(TypedDict):
    """An invitation that was taken back."""

    devices: int
    """That are not let in any more."""


PRINTED: Final[Mapping[str, tuple[type, ...]]] = {
    "init": (NewDevice,), "run": (Done,), "stop": (Done,), "invite": (s.Invitation,),
    "join": (JoinedDevice,), "folder add": (s.FolderEntry,), "folder list": (s.FolderList,),
    "folder attach": (s.FolderEntry,), "folder remove": (Done,), "relay run": (RelayStarted,),
    "relay config": (RelayExample,), "relay invite": (RelayToken,),
    "relay invitations": (RelayInvitations,), "relay withdraw": (RelayWithdrawn,),
    "relay add": (s.RelayEntry,), "relay list": (s.RelayList,), "relay remove": (Done,),
    "backup add": (s.BackupEntry,), "backup remove": (Done,), "backup repair": (s.RepairReport,),
    "backup status": (s.BackupList,), "durability": (Durability,),
    "kit print": (s.KitSheet, PrintedKit), "recover": (Recovered,), "status": (s.Status,),
    "devices": (s.DeviceList,), "devices remove": (Done,), "conflicts": (s.ConflictList,),
    "resolve": (Done,), "search": (s.SearchAnswer,), "versions": (s.VersionList,),
    "restore": (s.RestoreReport,), "restore-folder": (s.RestoreReport,), "pause": (Done,),
    "resume": (Done,), "answer": (Done,), "demo": (DemoReport,), "doctor": (DoctorReport,),
    "log": (LogEntries,), "log verify": (TrailVerdict,), "notifications": (s.NoticeList,),
    "notifications read": (Marked,), "service install": (ServicePlace,),
    "service uninstall": (ServiceName,), "service status": (ServiceState,), "config": (Settings,),
    "config get": (Settings,), "config set": (Settings,), "completion": (Script,),
    "link": (LinkListing,), "link create": (NewLinkEntry,), "link request": (UploadLinkEntry,),
    "link list": (LinkListing,), "link revoke": (LinkEnd,), "get": (GotLink,),
}  # fmt: skip
"""By command; `kit print` with --out prints the second. `tui` has no JSON, being a screen."""

OPENING: Final = """\
# What `--json` prints

Every command but `tui` takes `--json` and prints one JSON object on standard output, on one line.
This page is made from the types that are printed (`make man`), and a test compares what commands
print with it. What stands here is kept: a key is never renamed, taken away or given another
meaning; new ones may be added, so whoever reads passes over keys that are not known. Sizes are
bytes, times are seconds (`_s`), ids are lower-case hex, text is what devices and people wrote,
unchanged: make it safe before it is shown on a terminal. Types are Python's: `None` is JSON's
null.

A command that fails ends with the exit code of the README's table and prints on standard error
one line, a problem document (RFC 9457): `type` (`about:blank`), `title` (what the table says),
`detail` (what happened here, and what to do now), `code` (for programs) and `exit_code`. On
standard output it prints `{"error": {"code": ..., "message": ...}}`; or its answer, where that is
the bad news itself (`doctor`, `log verify`, `restore`, `demo`). `relay run`, `config`, `invite`,
`invitations` and `withdraw` are the relay's own program, which says its errors in a sentence on
standard error.

| command | prints |
|---|---|
"""


def text() -> str:
    """JSON.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield OPENING.rstrip("\n")
    for command, shapes in PRINTED.items():
        named = " or ".join(f"[{shape.__name__}](#{shape.__name__.lower()})" for shape in shapes)
        yield f"| `holdfast {command}` | {named} |"
    for shape in _reached():
        yield f"\n## {shape.__name__}\n"
        yield " ".join((inspect.getdoc(shape) or "").split())
        fields = list(_fields(shape))
        if fields:
            yield "\n| key | type | |\n|---|---|---|"
            yield from (f"| `{name}` | {kind} | {words} |" for name, kind, words in fields)


def _reached() -> list[type]:
    """All shapes that are printed, or lie in one that is, by name."""
    found: dict[str, type] = {}
    ahead = [shape for shapes in PRINTED.values() for shape in shapes]
    while ahead:
        shape = ahead.pop()
        if shape.__name__ not in found:
            found[shape.__name__] = shape
            for hint in get_type_hints(shape).values():
                ahead += [part for part in (hint, *get_args(hint)) if hasattr(part, "__total__")]
    return [found[name] for name in sorted(found)]


def _fields(shape: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and words of each key, in the order of the source."""
    for base in getattr(shape, "__orig_bases__", ()):
        if hasattr(base, "__total__"):
            yield from _fields(base)
    (written,) = ast.parse(textwrap.dedent(inspect.getsource(shape))).body
    assert isinstance(written, ast.ClassDef)
    named = set()
    for line, after in zip(written.body, [*written.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign):
            kind, words = ast.unparse(line.annotation), ""
            is_there = not kind.startswith("NotRequired[")
            kind = (kind if is_there else kind[len("NotRequired[") : -1]).removeprefix("s.")
            match after:
                case ast.Expr(value=ast.Constant(value=str(said))):
                    words = " ".join(said.split())
            if not is_there:
                words = f"Not always there. {words}".strip()
            name = ast.unparse(line.target)
            named.add(name)
            yield name, f"`{kind}`".replace("|", "\\|"), words.replace("|", "\\|")
    for name in sorted(shape.__annotations__.keys() - named):
        if not any(hasattr(base, "__total__") for base in getattr(shape, "__orig_bases__", ())):
            yield name, "`str`", ""


if __name__ == "__main__":
    sys.stdout.write(text())
