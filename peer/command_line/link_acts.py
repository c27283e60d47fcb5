"""What the commands of share links do (acts has the others)."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any, Final

from peer.command_line import link_words, terminal
from peer.command_line.acts import Answer, client_of, say
from peer.command_line.progress import BYTES, drawn, watched
from peer.command_line.upload_acts import show_requests
from peer.errors import UsageError

DEFAULT_LIFETIME_S: Final = 7 * 86_400
MAKING_TIMEOUT_S: Final = 24 * 3600.0
"""What is not at the relay yet is uploaded first, which takes as long as it takes."""
_DASHED_ID: Final = re.compile(r"-[\w-]{3,21}")


def get(arguments: argparse.Namespace) -> Answer:
    """Fetch what a share link gives; needs no device and no daemon."""
    from peer.command_line.link_password import ask_link_password
    from peer.share_links.link_get import get as get_link
    from protocol.share_url import BadShareUrl, ShareUrl

    text = sys.stdin.readline() if arguments.url == "-" else arguments.url
    try:
        url = ShareUrl.parse(text)
    except BadShareUrl as error:
        raise UsageError(str(error)) from error
    began_at = time.monotonic()
    directory = arguments.output or Path()
    with drawn(arguments) as tell:
        got = get_link(url, directory, ask_link_password, tell)
    took_s = max(time.monotonic() - began_at, 0.001)
    data = {
        "names": got.names,
        "directory": str(directory.absolute()),
        "files": got.files,
        "bytes": got.size,
        "seconds": round(took_s, 3),
    }
    rate = f"{terminal.format_size(got.size / took_s)}/s"
    took = terminal.format_time(took_s)
    line = f"{terminal.count_files(got.files)}, {terminal.format_size(got.size)} in {took}"

    def show() -> None:
        for name in got.names:
            print(terminal.term_safe(str(directory / name)))
        print(f"{line} ({rate}).")

    return Answer(data, show)


def link_create(arguments: argparse.Namespace) -> Answer:
    """Have the daemon make a share link; prints the URL, and a QR code on a terminal."""
    from peer.command_line.link_password import ask_link_password

    password = ask_link_password(is_new=True) if arguments.password else None
    lifetime_s = DEFAULT_LIFETIME_S if arguments.expires is None else arguments.expires
    body: dict[str, Any] = {
        "path": str(arguments.path.absolute()),
        "lifetime_s": lifetime_s,
        "downloads_max": arguments.max_downloads or 0,
    }
    given = (("name", arguments.name), ("relay", arguments.relay), ("password", password))
    body |= {name: value for name, value in given if value}
    client = client_of(arguments)
    made = watched(
        arguments, client, "link", body["path"], BYTES,
        lambda: client.request("POST", "/api/links/create", body, MAKING_TIMEOUT_S),
    )  # fmt: skip

    def show() -> None:
        print(made["url"])
        size = terminal.format_size(made["bytes"])
        print(f"{terminal.count_files(made['files'])}, {size}; {link_words.terms(made)}")
        print("Who has this address has the files: what is behind the # is the key to them.")
        if sys.stdout.isatty():
            import segno

            segno.make(made["url"], error="l").terminal(compact=True)

    return Answer(made, show)


def link_list(arguments: argparse.Namespace) -> Answer:
    """Ask for the user's share links."""
    found = client_of(arguments).request("GET", "/api/links", None, MAKING_TIMEOUT_S)

    def show() -> None:
        if found["requests"]:
            show_requests(found["requests"])
        elif not found["links"]:
            print(
                "There are no share links. `holdfast link create PATH` makes one, and"
                " `holdfast link request DIRECTORY` one by which files come in."
            )
        if not found["links"]:
            return
        rows = (
            (
                each["id"][:8],
                link_words.name_of(each),
                link_words.size_of(each),
                link_words.downloads(each),
                terminal.format_moment(each["expires_s"]) if each["expires_s"] else "never",
                each["state"],
            )
            for each in found["links"]
        )
        terminal.print_table(("id", "name", "size", "downloads", "expires", "state"), rows)
        for line in dict.fromkeys(map(link_words.elsewhere, found["links"])):
            if line:
                print(terminal.wrapped(terminal.term_safe(line), sys.stdout))

    return Answer(found, show)


def link_revoke(arguments: argparse.Namespace) -> Answer:
    """Have the daemon end a share link."""
    from protocol.share_url import BadShareUrl, ShareUrl, text_of

    try:
        link = text_of(ShareUrl.parse(arguments.link).link_id)  # its secret is in no request
    except BadShareUrl:
        link = arguments.link
    body = {"link": link}
    answer = client_of(arguments).request("POST", "/api/links/revoke", body, MAKING_TIMEOUT_S)
    if answer["ended"]:
        return say(answer, "It is ended: nobody gets anything by it any more.")
    return say(answer, "Another device made it. It ends once that one or its relay can be reached.")


def ids_apart(words: list[str]) -> list[str]:
    """The words of a command line; a link's id that begins with a dash, as one of 64 does, stands
    where it is not taken for an option.
    """
    at = words.index("revoke") + 1 if "revoke" in words else len(words)
    for number, word in enumerate(words[at:], at):
        if _DASHED_ID.fullmatch(word) and not word.startswith("--"):
            return [*words[:number], *words[number + 1 :], "--", word]
    return words
