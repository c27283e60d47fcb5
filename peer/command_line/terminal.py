"""Everything that is printed for a person: tables, sentences, and strings of other devices made
safe (ATTACKS A37).
"""

import shutil
import sys
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:  # rich takes 0.1 s to import, and most commands print JSON or nothing.
    from rich.console import Console

    from peer.status import (
        ConflictList,
        DeviceList,
        FolderList,
        FolderStatus,
        PathProblem,
        RelayList,
        SearchAnswer,
        Status,
        TransferEntry,
        VersionList,
    )

UNSAFE_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Controls (escape sequences), format characters (which reorder text), surrogates (which do not
encode), unassigned, line ends.
"""

PIPE_WIDTH = 10_000
COLUMNS_APART: Final = 3
"""What stands between two columns of a table."""
BROKEN_WIDTH_MIN: Final = 12
"""What a column has at least that goes on in the next line."""
NO_EARLIER: Final = (
    "There is no earlier version of it: it never changed, or what it was is kept no longer."
)
NUMBERS_LACK: Final = (
    "The numbers are of all files of the folder: those between are of others, or kept no longer."
)
NOT_HERE: Final = (
    "What is not here is kept by another device or by super-nodes, and fetched by `restore`."
)
SAME_REASON_SHOWN: Final = 10
"""Files of a folder that are named with one reason; after a recovery it is that of all of them."""


def term_safe(text: str) -> str:
    """The text with each character that could steer or confuse a terminal shown as its escape; of
    one line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in UNSAFE_CATEGORIES
        else character
        for character in text
    )


def count_files(count: int) -> str:
    """So many files, in words."""
    return "1 file" if count == 1 else f"{count:,} files"


def format_size(size_bytes: float) -> str:
    """Bytes for a person: `512 B`, `1.4 MB`; decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size_bytes) < 1000 or unit == "TB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def format_time(time_s: float) -> str:
    """Seconds for a person: `31 ms`, `4.2 s`, `3 min`, `5 h`, `2 days`."""
    if time_s < 1:
        return f"{time_s * 1000:.0f} ms"
    if time_s < 120:
        return f"{time_s:.1f} s"
    if time_s < 7200:
        return f"{time_s / 60:.0f} min"
    return f"{time_s / 3600:.0f} h" if time_s < 172_800 else f"{time_s / 86_400:.0f} days"


def format_moment(at_s: int) -> str:
    """A time in seconds since 1970, by this machine's clock; nothing for 0."""
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s)) if at_s else "-"


def make_console() -> "Console":
    """The console of standard output; obeys NO_COLOR, and does not cut what a pipe reads."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a plain table whose cells are taken literally, markup and escapes included."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    cells = [[Text(term_safe(cell)) for cell in row] for row in rows]
    widths = [
        max([Text(heading).cell_len, *(row[column].cell_len for row in cells)])
        for column, heading in enumerate(headings)
    ]
    whole = whole_columns(widths, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=column in whole)
    for row in cells:
        table.add_row(*row)
    console.print(table)


def whole_columns(widths: Sequence[int], width: int) -> set[int]:
    """The columns of a table that are shown unbroken, narrow ones first: where not all fit, a path
    goes on in the next line and no date does.
    """
    left = width - COLUMNS_APART * len(widths)
    whole: set[int] = set()
    narrow_first = sorted(range(len(widths)), key=lambda one: widths[one])
    for number, column in enumerate(narrow_first):
        wider = narrow_first[number + 1 :]
        if widths[column] > left - sum(min(widths[one], BROKEN_WIDTH_MIN) for one in wider):
            break
        left -= widths[column]
        whole.add(column)
    return whole


def wrapped(line: str, stream: TextIO) -> str:
    """A line for a person, which on a terminal goes on in the next one between two words; what a
    pipe reads stays one line.
    """
    width = shutil.get_terminal_size().columns
    if not stream.isatty() or len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def print_error(sentence: str) -> None:
    """Print one sentence on standard error."""
    print(wrapped(f"holdfast: {term_safe(sentence)}", sys.stderr), file=sys.stderr)


def _describe_folder(folder: "FolderStatus") -> str:
    """The state in words, with what is still needed where that is known."""
    paused = folder.get("paused_files", 0)
    said = []
    state = folder["state"]
    if (left := folder["need_files"] - paused) > 0 and folder["path"]:
        if state == "no space":
            state = f"no space for {count_files(left)}"
        elif folder["need_bytes"]:
            said.append(f"{count_files(left)}, {format_size(folder['need_bytes'])} left")
        else:
            said.append(f"{count_files(left)} left")
    if paused:
        said.append(paused_words(folder))
    return f"{state} ({'; '.join(said)})" if said else state


def paused_words(folder: "FolderStatus") -> str:
    """What of a folder waits by a person's will."""
    return f"{count_files(folder.get('paused_files', 0))} paused by you"


SHOWN_BYTES_S: Final = 1_000.0
"""What devices say to each other at rest is less."""


def _moved(count: int, rate: float) -> str:
    """How much has gone over a link, and how fast it goes, if it does."""
    size = format_size(count)
    return f"{size}, {format_size(rate)}/s" if rate >= SHOWN_BYTES_S else size


def _print_problems(folder: str, problems: Sequence["PathProblem"]) -> None:
    """What is not synced and why; of many files with one reason the first, and how many more."""
    reasons = Counter(problem["reason"] for problem in problems)
    shown: Counter[str] = Counter()
    for problem in problems:
        reason = problem["reason"]
        shown[reason] += 1
        if shown[reason] <= SAME_REASON_SHOWN:
            print(f"{term_safe(folder + '/' + problem['path'])}: {term_safe(reason)}")
        elif shown[reason] == reasons[reason]:
            more = count_files(reasons[reason] - SAME_REASON_SHOWN)
            print(
                f"{term_safe(folder)}: The same is true of {more} more; tab 3 of `holdfast tui` and"
                " `holdfast status --json` list all."
            )


def print_status(status: "Status", paused: Sequence["TransferEntry"] = ()) -> None:
    """Print folders, what they ask, what to know of them, what is not synced and why, what is
    paused, and links.
    """
    device = status["device"]
    print(f"This device is {term_safe(device['name'])} ({device['id'][:8]}).")
    if not status["folders"]:
        print("No folders yet. Add one with `holdfast folder add PATH --name NAME`.")
    else:
        print_table(
            ("folder", "state", "files", "size", "path"),
            (
                (
                    folder["name"],
                    _describe_folder(folder),
                    str(folder["files"]),
                    format_size(folder["bytes"]),
                    folder["path"] or "-",
                )
                for folder in status["folders"]
            ),
        )
    for folder in status["folders"]:
        if "question" in folder:
            print(f"{term_safe(folder['name'])}: {term_safe(folder['question'])}")
        for warning in folder.get("warnings", []):
            print(f"{term_safe(folder['name'])}: {term_safe(warning)}")
        _print_problems(folder["name"], folder["errors"])
    for one in paused:
        where = term_safe(f"{one['folder']}/{one['path']}")
        here = f"{format_size(one['done_bytes'])} of {format_size(one['size'])} are here"
        print(f"{where}: Paused by you; {here}. `holdfast resume --file PATH` lets it go on.")
    if not status["links"]:
        print("No other device is connected.")
        return
    print_table(
        ("connected to", "by", "path", "round trip", "address", "sent", "received"),
        (
            (
                link["name"],
                link["kind"],
                link["path"],
                "-" if link["round_trip_s"] is None else format_time(link["round_trip_s"]),
                link["address"],
                _moved(link["sent_bytes"], link["sent_bytes_s"]),
                _moved(link["received_bytes"], link["received_bytes_s"]),
            )
            for link in status["links"]
        ),
    )
    for link in status["links"]:
        if link["direct_problem"]:
            print(f"{term_safe(link['name'])}: {term_safe(link['direct_problem'])}")


def print_open(conflicts: int, unread: int) -> None:
    """Print how many conflicts and notices wait for the person, where there are any."""
    for count, one, more, command in (
        (conflicts, "conflict", "conflicts", "conflicts"),
        (unread, "unread notice", "unread notices", "notifications"),
    ):
        if count:
            print(f"{count:,} {one if count == 1 else more}: `holdfast {command}`.")


def print_folders(folders: "FolderList") -> None:
    """Print the folders that this device knows, attached or not."""
    print_table(
        ("folder", "id", "state", "path"),
        (
            (row["name"], row["id"][:8], row["state"], row["path"] or "-")
            for row in folders["folders"]
        ),
    )


def print_conflicts(found: "ConflictList") -> None:
    """Print the conflict copies, and how to decide."""
    if not found["conflicts"]:
        print("There are no conflicts.")
        return
    import shlex

    for one in found["conflicts"]:  # whole, and as a shell takes it: it is to be typed
        print(term_safe(shlex.quote(one["place"])))
        by = f" by {one['device']}" if one["device"] else ""
        size, when = format_size(one["size"]), format_moment(one["written_s"])
        print(term_safe(f"    {size}, written {when}{by}, in {one['folder']}"))
    print("Decide by `holdfast resolve COPY original`, `copy` or `both`.")


def print_found(found: "SearchAnswer") -> None:
    """Print what a search found."""
    if not found["found"]:
        print("Nothing was found.")
        return
    from rich.text import Text

    width = make_console().width
    for one in found["found"]:
        path = f"{one['folder']}/{one['path']}" + ("/" if one["directory"] else "")
        size = "" if one["directory"] else f"{format_size(one['size'])}, "
        print(f"{term_safe(path)}  ({size}{format_moment(int(one['modified_s'] or 0))})")
        if one.get("snippet"):
            snippet = Text(f"    {term_safe(one['snippet'])}")
            snippet.truncate(width, overflow="ellipsis")
            print(snippet.plain)
    if found["more"]:
        print("There is more: add a word, or --limit.")


def print_versions(found: "VersionList", *, is_deleted: bool = False) -> None:
    """Print what a file was, or what was deleted."""
    if not found["versions"]:
        print("Nothing that was deleted is kept." if is_deleted else "There are no versions of it.")
        return

    # Of one file that was never renamed nobody has to read its path in each line.
    is_one = not is_deleted and len({one["path"] for one in found["versions"]}) == 1
    print_table(
        ("version", *(() if is_one else ("path",)), "size", "written", "by", "until", ""),
        (
            (
                str(one["version"]) if one["version"] else "now",
                *(() if is_one else (one["path"],)),
                format_size(one["size"]),
                format_moment(one["written_s"]),
                one["device"] or "-",
                format_moment(one["ended_s"] or 0),
                ", ".join(
                    word
                    for word, holds in (
                        ("deleted", one["deleted"]),
                        ("not here", not one["here"]),
                    )
                    if holds
                ),
            )
            for one in found["versions"]
        ),
    )
    numbers = sorted(one["version"] for one in found["versions"] if one["version"])
    if not numbers:
        print(NO_EARLIER)
    elif not is_deleted and numbers[-1] - numbers[0] >= len(numbers):
        print(wrapped(NUMBERS_LACK, sys.stdout))
    if not all(one["here"] for one in found["versions"]):
        print(wrapped(NOT_HERE, sys.stdout))


def print_relays(relays: "RelayList") -> None:
    """Print the relays that a device uses."""
    if not relays["relays"]:
        print("This device uses no relay. `holdfast relay add ADDRESS` has it use one.")
        return
    for row in relays["relays"]:  # no table, which would break an address that is to be copied
        print(term_safe(row["address"]))
        print(term_safe(f"    {'connected' if row['connected'] else row['problem']}"))


def print_devices(devices: "DeviceList") -> None:
    """Print the user's devices."""

    def seen(connected: bool, last_seen_s: float | None) -> str:
        if connected:
            return "connected"
        return "never seen" if last_seen_s is None else f"seen {format_time(last_seen_s)} ago"

    print_table(
        ("device", "id", ""),
        (
            (
                row["name"],
                row["id"][:8],
                "this device" if row["this"] else seen(row["connected"], row["last_seen_s"]),
            )
            for row in devices["devices"]
        ),
    )
