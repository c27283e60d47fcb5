"""What the command of upload links does, and how they are listed (the others: link_acts)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

from peer.command_line import link_words, terminal
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
        words = f"{link_words.allowed(made)}; {link_words.terms(made)}"
        print(terminal.term_safe(f"Into {made['place']}: {words}"))
        print("Who has this address can put files in, and sees none that are there.")
        if sys.stdout.isatty():
            import segno

            segno.make(made["url"], error="l").terminal(compact=True)

    return Answer(made, show)


def show_requests(requests: Sequence[dict[str, Any]]) -> None:
    """The upload links as a table, and below it what each takes, where to, and what has come."""
    rows = (
        (
            each["id"][:8],
            link_words.name_of(each),
            link_words.files_come(each),
            link_words.size_of(each),
            terminal.format_moment(each["expires_s"]) if each["expires_s"] else "never",
            each["state"],
        )
        for each in requests
    )
    terminal.print_table(("id", "name", "files", "bytes", "expires", "state"), rows)
    for each in requests:
        into = f"into {each['place']}, " if each["place"] else ""
        for line in (
            into + link_words.allowed(each),
            *filter(None, [link_words.elsewhere(each)]),
            *link_words.come(each),
            *link_words.lacking(each),
        ):
            said = terminal.term_safe(f"{each['name']}: {line}")
            print(terminal.wrapped(said, sys.stdout))
