"""The command line: `holdfast [--home DIR] COMMAND ... [--json]`, its grammar and its door.

Errors are one sentence on standard error that says what to do, and an exit code (peer/errors.py);
with `--json` the sentence is in a problem document (RFC 9457), and standard output has an object.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from peer.command_line import (
    acts,
    backup_acts,
    durability_acts,
    link_acts,
    service_acts,
    terminal,
    trail_acts,
    upload_acts,
)
from peer.errors import PeerError, UsageError, of_protocol
from peer.status import Choice, HoldAnswer
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from protocol.relay_address import RelayAddress

LINK_KINDS = ("tls", "quic")
_DEFECT = "Holdfast has a defect"
_DATABASE_ERROR = "sqlite3.OperationalError"
"""By its name: to import the module takes 0.02 s of every command."""
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, as shells have it."""


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are sentences, and whose every command takes the options of all
    commands.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        everywhere = self.add_argument_group("options of every command")
        # SUPPRESS, so that a command's own parser does not undo what was said before the command.
        everywhere.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help=_HOME_HELP)
        for name, what in (("json", "print JSON"), ("verbose", "say more when something fails")):
            everywhere.add_argument(
                f"--{name}", action="store_true", default=argparse.SUPPRESS, help=what
            )

    def format_help(self) -> str:
        """What argparse says of it, and examples: looked up only when somebody reads them."""
        from peer.command_line.examples import text_of

        examples = text_of(self.prog.removeprefix("holdfast").strip())
        return super().format_help() + (f"\n{examples}" if examples else "")

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving, so that there is one door."""
        from peer.command_line.mistakes import sentence

        raise UsageError(f"{sentence(message)} `{self.prog} --help` shows how it is used.")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: to import what knows it takes 0.02 s."""

    def __call__(self, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"holdfast {version('holdfast')}")
        except PackageNotFoundError:  # A checkout that nothing was installed from.
            print("holdfast, not installed")
        sys.exit(0)


_HOME_HELP = (
    "the device's own directory (default: $HOLDFAST_HOME, else the platform's data directory)"
)


def _address(text: str) -> tuple[str, int]:
    """HOST:PORT, an IPv6 host in brackets."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if (
        not host
        or not port.isdecimal()
        or int(port) > 65535
        or (":" in host) != text.startswith("[")
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, with a port up to 65535")
    return host, int(port)


def _relay(text: str) -> "RelayAddress":
    """A relay's address."""
    from protocol.relay_address import RelayAddress

    try:
        return RelayAddress.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _relay_text(text: str) -> str:
    """The same, written as it always is."""
    return str(_relay(text))


def _device_name(text: str) -> str:
    """A name that can stand in the name of a conflict copy."""
    from protocol.names import check_label

    try:
        check_label(text)
    except ProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _count(text: str) -> int:
    """A number from 1 to 1000."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:5]) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
    return int(text)


def _moment(text: str) -> int:
    """A time in the past, in seconds since 1970: `2026-01-31`, `2026-01-31 14:00`, or how long ago:
    `90m`, `6h`, `3d`, `2w`.
    """
    import time
    from datetime import datetime

    number, unit = text[:-1], {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}.get(text[-1:])
    if unit is not None and number.isascii() and number.isdecimal() and len(number) < 6:
        return int(time.time()) - int(number) * unit
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time like 2026-01-31, '2026-01-31 14:00', 6h or 3d"
        ) from error


def _lifetime(text: str) -> int:
    """How long, in seconds: `90m`, `12h`, `7d`, `4w`; 0 for `never`."""
    number, unit = text[:-1], {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}.get(text[-1:])
    if text == "never":
        return 0
    if unit is None or not number.isascii() or not number.isdecimal() or len(number) > 5:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 12h, 7d or never")
    if not int(number):
        raise argparse.ArgumentTypeError("a link is there for a while, or never expires")
    return int(number) * unit


def _size(text: str) -> int:
    """A number of bytes, or of units as `format_size` writes them."""
    found = re.fullmatch(r"([0-9]{1,15})([kKMGT]?)B?", text.strip())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError("a size is a number with k, M, G or T behind it, or none")
    return int(found[1]) * int(1000 ** " kMGT".index(found[2].replace("K", "k") or " "))


def _links(text: str) -> tuple[str, ...]:
    """Kinds of link, the preferred one first."""
    kinds = tuple(text.split(","))
    if not set(kinds) <= set(LINK_KINDS) or len(set(kinds)) != len(kinds):
        raise argparse.ArgumentTypeError(f"{text!r} is not some of {', '.join(LINK_KINDS)}")
    return kinds


def make_parser() -> argparse.ArgumentParser:
    """The grammar of all commands; the README's table of commands is checked against it."""
    parser = _Parser(
        prog="holdfast",
        description="Your folders, the same on all your devices.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, act: Any, what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what)
        command.set_defaults(act=act)
        return command

    init = add("init", acts.init, "make this the first of your devices")
    init.add_argument(
        "--name", required=True, type=_device_name, help="how your other devices call this one"
    )
    _add_passphrase(init)
    run = add("run", acts.run, "run the daemon, until it is told to stop")
    run.add_argument("--listen", type=_address, metavar="HOST:PORT", help="where others reach it")
    run.add_argument("--no-discovery", action="store_true", help="stay unseen on this network")
    run.add_argument(
        "--links", type=_links, metavar="KINDS", help="of tls,quic; the first is tried first"
    )
    add("stop", acts.stop, "stop the daemon")
    add("invite", acts.invite, "show a code that makes another device yours")
    join = add("join", acts.join, "make this device yours, by the code that another one shows")
    join.add_argument("code", nargs="?", metavar="CODE", help="asked for when it is not given")
    join.add_argument(
        "--address", type=_address, metavar="HOST:PORT", help="where the other one is"
    )
    join.add_argument(
        "--relay", type=_relay, metavar="ADDRESS", help="the relay at which the other one waits"
    )
    join.add_argument(
        "--name", required=True, type=_device_name, help="how your other devices call this one"
    )
    _add_passphrase(join)
    _add_folder_commands(commands)
    _add_relay_commands(commands)
    _add_backup_commands(commands, add)
    add("tui", acts.tui, "show everything on a screen to be left open, and act by keys")
    add("status", acts.status, "show folders, what is not synced and why, and links")
    devices = add("devices", acts.devices, "show your devices")
    more = devices.add_subparsers(metavar="COMMAND")
    what = "make a device yours no more, for good: one that was lost, for instance"
    remove = more.add_parser("remove", help=what, description=what)
    remove.set_defaults(act=acts.devices_remove)
    remove.add_argument("device", metavar="DEVICE", help="its name or id")
    _add_file_commands(add)
    pause = add("pause", acts.pause, "send, fetch and write nothing")
    resume = add("resume", acts.resume, "go on after a pause")
    for command in (pause, resume):
        command.add_argument("folder", nargs="?", metavar="FOLDER", help="all folders if not given")
        command.add_argument(
            "--file", type=Path, metavar="PATH", help="only this file, which is on its way here"
        )
    answer = add("answer", acts.answer, "answer a folder that asks whether many changes were meant")
    answer.add_argument("folder", metavar="FOLDER")
    answer.add_argument("answer", choices=[answer.value for answer in HoldAnswer])
    _add_demo_command(add)
    add("doctor", acts.doctor, "look for what keeps Holdfast from working, and say the cure")
    _add_log_commands(add)
    _add_service_commands(add, commands)
    _add_link_commands(add)
    return parser


def _add_demo_command(add: Callable[..., argparse.ArgumentParser]) -> None:
    demo = add(
        "demo", acts.demo, "pair two devices in a temporary directory, sync a tree and check it"
    )
    demo.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="default: Python's own library"
    )
    demo.add_argument(
        "--durable", action="store_true",
        help="lose both devices and 3 of 7 super-nodes, and recover by the kit",
    )  # fmt: skip


def _add_passphrase(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--passphrase",
        action="store_true",
        help="lock the key file: asked for, or from $HOLDFAST_PASSPHRASE or the first line of"
        " $HOLDFAST_PASSPHRASE_FILE",
    )


def _add_folder_commands(commands: Any) -> None:
    what = "add, list, attach and remove folders"
    folder = commands.add_parser("folder", help=what, description=what)
    folders = folder.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, act: Any, what: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = folders.add_parser(name, help=what, description=what)
        command.set_defaults(act=act)
        return command

    new = add("add", acts.folder_add, "sync a directory with your devices")
    new.add_argument("path", type=Path, metavar="PATH")
    new.add_argument("--name", required=True, help="how the folder is called on every device")
    add("list", acts.folder_list, "show your folders")
    attach = add("attach", acts.folder_attach, "put a folder of yours on a path here")
    attach.add_argument("folder", metavar="FOLDER", help="its name or id")
    attach.add_argument("path", type=Path, metavar="PATH")
    remove = add("remove", acts.folder_remove, "stop to sync a folder here; its files stay")
    remove.add_argument("folder", metavar="FOLDER", help="its name or id")


def _add_file_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    add("conflicts", acts.conflicts, "show files of which two edits were kept")
    resolve = add("resolve", acts.resolve, "decide what becomes of a conflict copy")
    resolve.add_argument("path", type=Path, metavar="COPY", help="the path of the copy")
    resolve.add_argument("keep", choices=[choice.value for choice in Choice])
    search = add(
        "search", acts.search, "find files by what is in them, by name, type, date, size and owner"
    )
    search.add_argument(
        "words", nargs="+", metavar="WORD",
        help="part of a name, or a word in a file; or type:pdf, after:2026-01, before:2026,"
        " larger:20M, smaller:1G, folder:NAME, owner:DEVICE",
    )  # fmt: skip
    search.add_argument("--limit", type=_count, metavar="N", help="at most so many (default: 50)")
    versions = add("versions", acts.versions, "show what a file was before")
    versions.add_argument("path", type=Path, metavar="PATH")
    versions.add_argument(
        "--deleted", action="store_true", help="show what was deleted from this directory"
    )
    restore = add("restore", acts.restore, "bring a version of a file back, also a deleted one")
    restore.add_argument("path", type=Path, metavar="PATH")
    which = restore.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="as `versions` numbers it")
    which.add_argument("--at", type=_moment, metavar="TIME", help="as it was then: a date, or 3d")
    restore.add_argument("--to", type=Path, metavar="DEST", help="put it there instead")
    folder = add("restore-folder", acts.restore_folder, "bring a directory back to a time")
    folder.add_argument("path", type=Path, metavar="PATH", help="a folder, or a directory in one")
    folder.add_argument("--at", type=_moment, required=True, metavar="TIME", help="a date, or 3d")
    folder.add_argument("--dry-run", action="store_true", help="only list what it would do")


def _add_log_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    log = add("log", trail_acts.log, "show who did what, and when: the audit trail")
    log.add_argument("--limit", type=_count, metavar="N", help="at most so many (default: 50)")
    log.add_argument("--since", type=_moment, metavar="TIME", help="not older than: a date, or 3d")
    log.add_argument("--folder", metavar="FOLDER", help="only what was done to files of this one")
    more = log.add_subparsers(metavar="COMMAND")
    what = "check that nothing in the audit trail was changed, left out or put in"
    verify = more.add_parser("verify", help=what, description=what)
    verify.set_defaults(act=trail_acts.verify)
    what = "show what you should hear of: trouble, questions, news"
    notices = add("notifications", trail_acts.notifications, what)
    notices.add_argument("--all", action="store_true", help="also those that are marked as read")
    more = notices.add_subparsers(metavar="COMMAND")
    what = "mark notifications as read, all if none is named"
    read = more.add_parser("read", help=what, description=what)
    read.add_argument("notices", nargs="*", type=int, metavar="NUMBER", help="as they are listed")
    read.set_defaults(act=trail_acts.notifications_read)


def _add_link_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    link = add("link", link_acts.link_list, "make, list and revoke share links")
    links = link.add_subparsers(metavar="COMMAND", required=True)

    def more(name: str, act: Any, what: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = links.add_parser(name, help=what, description=what)
        command.set_defaults(act=act)
        return command

    new = more("create", link_acts.link_create, "make a URL that opens a file or directory")
    new.add_argument("path", type=Path, metavar="PATH", help="in one of your folders")
    new.add_argument(
        "--expires", type=_lifetime, metavar="TIME", help="7d if not given; 12h, 4w, or never"
    )
    new.add_argument("--max-downloads", type=_count, metavar="N", help="any number if not given")
    new.add_argument(
        "--password",
        action="store_true",
        help="asked for, or from $HOLDFAST_LINK_PASSWORD or the first line of"
        " $HOLDFAST_LINK_PASSWORD_FILE",
    )
    new.add_argument("--name", metavar="NAME", help="what it is called for who opens it")
    new.add_argument("--relay", metavar="ADDRESS", help="at which of your relays")
    new = more("request", upload_acts.link_request, "make a URL by which files come in")
    new.add_argument("path", type=Path, metavar="DIRECTORY", help="of one of your folders")
    new.add_argument(
        "--expires", type=_lifetime, metavar="TIME", help="7d if not given; 12h, 4w, or never"
    )
    new.add_argument("--max-files", type=_count, metavar="N", help="100 if not given")
    new.add_argument("--max-bytes", type=_size, metavar="SIZE", help="in all; 2G if not given")
    new.add_argument("--max-file", type=_size, metavar="SIZE", help="of one file")
    new.add_argument("--password", action="store_true", help="asked for, or as with `link create`")
    new.add_argument("--name", metavar="NAME", help="what it is called for who opens it")
    new.add_argument("--relay", metavar="ADDRESS", help="at which of your relays")
    more("list", link_acts.link_list, "show the share links that your devices have made")
    end = more("revoke", link_acts.link_revoke, "end a share link, at once and for ever")
    end.add_argument("link", metavar="LINK", help="its URL, name, id, or how its id begins")
    get = add("get", link_acts.get, "fetch what a share link gives, without a browser")
    get.add_argument("url", metavar="URL", help="all of it, with what is behind the #; - reads it")
    get.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="where to put it; here if not given"
    )


def _add_service_commands(add: Callable[..., argparse.ArgumentParser], commands: Any) -> None:
    what = "run the daemon as a service of your session"
    service = commands.add_parser("service", help=what, description=what)
    more = service.add_subparsers(metavar="COMMAND", required=True)
    for name, act, what in (
        ("install", service_acts.install, "run the daemon from now on, whenever you are logged in"),
        ("uninstall", service_acts.uninstall, "stop the service and remove it"),
        ("status", service_acts.status, "show how the service stands"),
    ):
        more.add_parser(name, help=what, description=what).set_defaults(act=act)
    config = add("config", service_acts.config, "show every setting of this device")
    more = config.add_subparsers(metavar="COMMAND")
    what = "show one setting"
    get = more.add_parser("get", help=what, description=what)
    get.set_defaults(act=service_acts.config_get)
    what = "change one setting; what is not allowed is refused"
    change = more.add_parser("set", help=what, description=what)
    change.set_defaults(act=service_acts.config_set)
    for command in (get, change):
        command.add_argument("key", metavar="KEY", help="such as folders.hold_files")
    change.add_argument(
        "value", metavar="VALUE", help="as in config.toml; plain text needs no quotes"
    )
    shells = add("completion", service_acts.completion, "print what completes commands in a shell")
    shells.add_argument("shell", choices=("bash", "zsh", "fish"))


def _add_relay_commands(commands: Any) -> None:
    what = "meet across networks: use relays, or run one"
    relay = commands.add_parser("relay", help=what, description=what)
    relays = relay.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, act: Any, what: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = relays.add_parser(name, help=what, description=what)
        command.set_defaults(act=act)
        return command

    run = add("run", acts.relay_run, "run a relay for devices, until it is told to stop")
    run.add_argument(
        "--listen", required=True, type=_address, metavar="HOST:PORT", help="where devices reach it"
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="relay.toml; see `relay config`")
    run.add_argument(
        "--web", type=_address, metavar="HOST:PORT", help="serve share links to browsers there"
    )
    add("config", acts.relay_config, "print every key of relay.toml, with what it means")
    invite = add("invite", acts.relay_invite, "make a token that lets devices use a closed relay")
    invite.add_argument("--devices", type=int, metavar="NUMBER", help="how many; 8 if not given")
    invite.add_argument("--days", type=int, metavar="NUMBER", help="for how long; 30 if not given")
    add("invitations", acts.relay_invitations, "show the invitations of a closed relay")
    withdraw = add("withdraw", acts.relay_withdraw, "take an invitation back, and whom it let in")
    withdraw.add_argument("invitation", metavar="INVITATION", help="as `relay invitations` has it")
    new = add(
        "add", acts.relay_add, "meet your other devices at a relay, if there is no direct way"
    )
    new.add_argument("address", type=_relay_text, metavar="ADDRESS", help="as the relay prints it")
    new.add_argument(
        "--token",
        action="store_true",
        help="show a closed relay the token of an invitation: asked for, or from"
        " $HOLDFAST_RELAY_TOKEN or the first line of $HOLDFAST_RELAY_TOKEN_FILE",
    )
    add("list", acts.relay_list, "show the relays that this device uses")
    remove = add("remove", acts.relay_remove, "use a relay no more")
    remove.add_argument("address", metavar="ADDRESS", help="its address or its host")


def _scheme(text: str) -> tuple[int, int]:
    """K/N."""
    needed, _, count = text.partition("/")
    if needed.isdecimal() and count.isdecimal() and 1 <= int(needed) <= int(count) <= 32:
        return int(needed), int(count)
    raise argparse.ArgumentTypeError(f"{text!r} is no K/N of at most 32, such as 4/7")


def _relays(text: str) -> list[str]:
    """Relays' addresses, with commas between."""
    return [_relay_text(each) for each in text.split(",")]


def _add_backup_commands(commands: Any, top: Callable[..., argparse.ArgumentParser]) -> None:
    what = "keep folders at super-nodes, so that nothing is lost with your devices"
    backup = commands.add_parser("backup", help=what, description=what)
    backups = backup.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, act: Any, what: str, among: Any) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = among.add_parser(name, help=what, description=what)
        command.set_defaults(act=act)
        return command

    new = add("add", backup_acts.backup_add, "keep a folder at super-nodes from now on", backups)
    new.add_argument("folder", metavar="FOLDER", help="its name or id")
    new.add_argument(
        "--nodes", required=True, type=_relays, metavar="A,B,...",
        help="addresses of relays that store, as they print them",
    )  # fmt: skip
    new.add_argument(
        "--scheme", type=_scheme, metavar="K/N",
        help="any K of N shares bring it back; N is the number of nodes if not given",
    )  # fmt: skip
    new.add_argument("--wait", action="store_true", help="until all of it is stored")
    remove = add("remove", backup_acts.backup_remove, "keep a folder there no more", backups)
    remove.add_argument("folder", metavar="FOLDER", help="its name or id")
    what = "look at all copies now, and store anew what is missing"
    repair = add("repair", backup_acts.backup_repair, what, backups)
    repair.add_argument("folder", metavar="FOLDER", help="its name or id")
    what = "show how the copies stand, and what endangers them"
    standing = add("status", backup_acts.backup_status, what, backups)
    standing.add_argument("--wait", action="store_true", help="until all there is is stored")
    model = top(
        "durability",
        durability_acts.durability,
        "tell how likely copies are lost within a year, by a model",
    )
    durability_acts.add_arguments(model, _scheme)
    what = "print the recovery kit, which brings all back when all devices are lost"
    kit = commands.add_parser("kit", help=what, description=what)
    kits = kit.add_subparsers(metavar="COMMAND", required=True)
    sheet = add("print", backup_acts.kit_print, what, kits)
    sheet.add_argument("--out", type=Path, metavar="FILE.pdf", help="write a PDF")
    recover = top(
        "recover", backup_acts.recover,
        "make this a device of yours by the recovery kit alone, with all your folders",
    )  # fmt: skip
    recover.add_argument(
        "--relay", required=True, action="append", type=_relay, metavar="ADDRESS",
        help="as it is printed on the kit; more than one may be given",
    )  # fmt: skip
    recover.add_argument(
        "--name", required=True, type=_device_name, help="how this device is called"
    )
    recover.add_argument("--to", type=Path, metavar="DIR", help="put each folder below this")
    _add_passphrase(recover)


def main(argv: Sequence[str] | None = None) -> int:
    """Do one command and return its exit code; the door at which every error becomes a sentence."""
    words = sys.argv[1:] if argv is None else list(argv)
    as_json, is_verbose = "--json" in words, "--verbose" in words
    try:
        arguments = make_parser().parse_args(link_acts.ids_apart(words))
        answer = cast(acts.Answer, arguments.act(arguments))
        if as_json:
            print(json.dumps(answer.data))
        else:
            answer.show()
        sys.stdout.flush()
        failure = answer.failure
    except BrokenPipeError:
        # Who reads our output has read enough, which is no error: let the last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a door: what a person gets is a sentence.
        failure = _as_sentence(error)
        # A daemon that ran for weeks cannot be given again: what it ended of has to be in its log.
        if is_verbose or ("run" in words and str(failure).startswith(_DEFECT)):
            import traceback

            traceback.print_exc()
        if as_json:
            print(json.dumps({"error": {"code": failure.code, "message": str(failure)}}))
    if failure is None:
        return 0
    if as_json:
        print(json.dumps(_problem(failure)), file=sys.stderr)
    else:
        terminal.print_error(str(failure))
    return failure.exit_code


def _problem(failure: PeerError) -> dict[str, Any]:
    """What the control API says of an error, but for the status that HTTP has."""
    return {
        "type": "about:blank", "title": failure.sentence(), "detail": str(failure),
        "code": failure.code, "exit_code": failure.exit_code,
    }  # fmt: skip


def _as_sentence(error: Exception) -> PeerError:
    match error:
        case PeerError():
            return error
        case ProtocolError():
            return of_protocol(error)
        case ExceptionGroup(exceptions=[only]):
            return _as_sentence(only)
        case OSError(strerror=str(reason)):
            where = f"{error.filename}: " if error.filename else ""
            return PeerError(f"{where}{reason}.")
        case _ if f"{type(error).__module__}.{type(error).__name__}" == _DATABASE_ERROR:
            return PeerError(
                f"A database of Holdfast's cannot be used: {error}. Look whether its disk is full"
                " or failing, and start again."
            )
        case KeyError():  # a key that an answer had to have, which the program has learned since
            return PeerError(
                f"{_DEFECT}, or the daemon is still that of an earlier version: it lacks {error}."
                " Start the daemon anew; if that does not help, --verbose shows where."
            )
        case _:
            return PeerError(
                f"{_DEFECT}: {type(error).__name__}: {error}. "
                "Give the command again with --verbose to see where."
            )
