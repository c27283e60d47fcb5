"""What the command of upload links does, and how they are listed (the others: link_acts)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

from peer.command_line import terminal
from peer.command_line.acts import Answer, client_of

DEFAULT_LIFETIME_S: Final = 7 * 86_400
MAKING_TIMEOUT_S: Final = 300.0


def link_request(arguments: argparse.Namespace) -> Answer:
    """Have the daemon make an upload link; prints the URL, and a QR code on a terminal."""
    from peer.command_line.link_password import ask_link_password

    password = ask_link_password(is_new=True) if arguments.password else None
    lifetime_s = DEFAULT_LIFETIME_S if arguments.expires is None else arguments.expires
    body: dict[str, Any] = {"path": str(arguments.path.absolute()), "lifetime_s": lifetime_s}
    given = (
        ("name", arguments.name), ("relay", arguments.relay), ("password", password),
        ("files_max", arguments.max_files), ("bytes_max", arguments.max_bytes),
        ("file_bytes_max", arguments.max_file),
    )  # fmt: skip
    body |= {name: value for name, value in given if value}
    made = client_of(arguments).request("POST", "/api/links/request", body, MAKING_TIMEOUT_S)

    def show() -> None:
        print(made["url"])
        print(terminal.term_safe(f"Into {made['place']}: {_allowed(made)}; {_until(made)}"))
        print("Who has this address can put files in, and sees none that are there.")
        if sys.stdout.isatty():
            import segno

            segno.make(made["url"], error="l").terminal(compact=True)

    return Answer(made, show)


def show_requests(requests: Sequence[dict[str, Any]]) -> None:
    """The upload links as a table, and below it what has come by each."""
    rows = (
        (
            each["id"],
            each["name"],
            f"(on {each['device']})" if each["device"] else each["place"],
            f"{_shown(each['files'])} of {each['files_max']}",
            f"{_size(each['bytes'])} of {terminal.format_size(each['bytes_max'])}",
            _shown(each["waiting"]),
            terminal.format_moment(each["expires_s"]) if each["expires_s"] else "never",
            each["state"],
        )
        for each in requests
    )
    terminal.print_table(
        ("id", "name", "into", "files", "bytes", "waiting", "expires", "state"), rows
    )
    for each in requests:
        for line in _news(each):
            print(terminal.term_safe(f"{each['name']}: {line}"))


def _shown(count: int | None) -> str:
    return "?" if count is None else str(count)


def _size(size: int | None) -> str:
    return "?" if size is None else terminal.format_size(size)


def _news(link: dict[str, Any]) -> list[str]:
    lines = []
    for sender in link["senders"]:
        who, size = sender["label"] or "somebody unnamed", terminal.format_size(sender["bytes"])
        count = "1 file" if sender["files"] == 1 else f"{sender['files']} files"
        lines.append(f"{count}, {size}, from {who}, {terminal.format_moment(sender['came_s'])}")
    if link["refused"]:
        lines.append(f"{link['refused']} not taken; `holdfast notifications` says why")
    if link["problem"]:
        lines.append(link["problem"])
    return lines


def _allowed(link: dict[str, Any]) -> str:
    size, most = terminal.format_size(link["bytes_max"]), link["file_bytes_max"]
    each = f", each up to {terminal.format_size(most)}" if most < link["bytes_max"] else ""
    return f"up to {link['files_max']} files and {size}{each}"


def _until(link: dict[str, Any]) -> str:
    until = (
        f"until {terminal.format_moment(link['expires_s'])}" if link["expires_s"] else "for ever"
    )
    return f"{until}{', with a password' if link['has_password'] else ''}."
