"""What each command of the command line does: one function a command, from parsed arguments to an
Answer.

Nothing that is slow to import is imported before a command needs it (asyncio alone takes 0.1 s), so
that `holdfast status` can be asked in a loop.
"""

import argparse
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from peer.command_line import terminal
from peer.command_line.passphrase import ask_passphrase
from peer.command_line.relay_token import ask_token
from peer.errors import DaemonNotRunning, NotRestored, PeerError, TroubleFound, UsageError
from peer.status import Choice, HoldAnswer

if TYPE_CHECKING:
    from peer.control.control_client import ControlClient
    from peer.status import RestoreReport

Result = TypeVar("Result")

HOME_VARIABLE = "HOLDFAST_HOME"
CODE_SIZE_MAX = 256
THREAD_TURN_S = 0.001
"""How long another thread may go on while the event loop waits for its turn. Python's own 5 ms are
all that an answer may take, and a request needs several turns: what reads texts for the search,
or hashes, would be felt in every answer.
"""
KEPT_MEMORY_BYTES = 16 << 20
"""What the daemon's heaps keep of what is freed: measured with 512 MiB in one file, 4 MiB saved a
tenth of the processor time of both sides and 16 MiB a fifth, for 5 MB more at the peak."""


class Answer(NamedTuple):
    """What a command has to say."""

    data: Mapping[str, Any]
    """What `--json` prints."""
    show: Callable[[], None]
    """Prints the same for a person."""
    failure: PeerError | None = None
    """Set where the data itself is bad news: it is printed, and the command fails."""


def say(data: Mapping[str, Any], *lines: str) -> Answer:
    """An answer of some lines."""

    def show() -> None:
        for line in lines:
            print(terminal.wrapped(terminal.term_safe(line), sys.stdout))

    return Answer(data, show)


def home_of(arguments: argparse.Namespace) -> Path:
    """`--home`, else HOLDFAST_HOME, else where this platform keeps a program's data."""
    named = getattr(arguments, "home", None) or os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("holdfast", appauthor=False)


def client_of(arguments: argparse.Namespace) -> "ControlClient":
    """Who asks the home's daemon."""
    from peer.control.control_client import ControlClient

    return ControlClient(home_of(arguments))


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end, on uvloop where there is one: it moves three times as many bytes
    through TLS.
    """
    import asyncio

    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = None
    sys.setswitchinterval(THREAD_TURN_S)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it ends, or until SIGTERM or SIGINT cancels it and its own clean-up is
    done.
    """
    import asyncio
    import signal

    task = asyncio.current_task()
    assert task is not None
    is_told = False

    def tell() -> None:
        nonlocal is_told
        is_told = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    try:
        await work
    except asyncio.CancelledError:
        if not is_told:
            raise


def init(arguments: argparse.Namespace) -> Answer:
    """Make the home and the user's first device in it."""
    from peer.device import setup

    home = home_of(arguments)
    passphrase = ask_passphrase(is_new=True) if arguments.passphrase else None
    made = run_async(setup.init_home(home, arguments.name, passphrase))
    lines = [f"Made the device {arguments.name} in {home}."]
    if "recovery_kit" in made:
        from peer.backup.kit_sheet import kit_lines

        lines += [
            "Your recovery kit, which brings everything back if you lose all your devices:",
            *(f"    {line}" for line in kit_lines(made["recovery_kit"])),
            "Print it or write it down now. It is shown once and stored nowhere.",
        ]
    return say(made, *lines, "Next: `holdfast run`, and `holdfast invite` in another terminal.")


def join(arguments: argparse.Namespace) -> Answer:
    """Make the home and, with the other device's help, one more device of its user."""
    from peer.device import setup

    code = arguments.code
    if code is None:
        if sys.stdin.isatty():
            print("The code that the other device shows: ", end="", file=sys.stderr, flush=True)
        code = sys.stdin.readline(CODE_SIZE_MAX).strip()
    passphrase = ask_passphrase(is_new=True) if arguments.passphrase else None
    if arguments.address is not None and arguments.relay is not None:
        raise UsageError("Give either --address or --relay.")
    joined = setup.join(
        home_of(arguments),
        code,
        arguments.address,
        arguments.name,
        passphrase,
        relay=arguments.relay,
    )
    made = run_async(joined)
    return say(
        made,
        f"{arguments.name} is one of your devices now.",
        "Next: `holdfast run`, and `holdfast folder list` in another terminal.",
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Run the daemon."""
    from peer import daemon
    from peer.collector import spare_rows
    from peer.disk import syscalls
    from peer.journal.daemon_log import RECENT
    from peer.log_format import configure_logging

    configure_logging(is_verbose=hasattr(arguments, "verbose"), also=[RECENT])
    spare_rows()
    syscalls.keep_freed_memory(KEPT_MEMORY_BYTES)
    discovery = False if arguments.no_discovery else None
    work = daemon.run(home_of(arguments), arguments.listen, discovery, arguments.links)
    run_async(until_stopped(work))
    return say({})


def stop(arguments: argparse.Namespace) -> Answer:
    """Have the daemon stop."""
    try:
        client_of(arguments).stop()
    except DaemonNotRunning as error:  # whoever stops it is not to be told to start it
        raise DaemonNotRunning("The daemon is not running.") from error
    return say({}, "The daemon stops.")


def invite(arguments: argparse.Namespace) -> Answer:
    """Have the daemon open an invitation."""
    invitation = client_of(arguments).invite()
    from_afar = [
        f"If it is on another network: `holdfast join {invitation['code']} --name NAME"
        f" --relay {relay}`"
        for relay in invitation["relays"]
    ]
    return say(
        invitation,
        f"The code is {invitation['code']}",
        f"Type `holdfast join {invitation['code']} --name NAME` on your other device.",
        *from_afar,
        f"It holds for {terminal.format_time(invitation['expires_s'])}, for one device.",
        "Then see by `holdfast devices` who joined; `holdfast devices remove NAME` takes it back.",
    )


def status(arguments: argparse.Namespace) -> Answer:
    """Ask the daemon how everything stands."""
    client = client_of(arguments)
    status = client.status()

    def show() -> None:
        has_paused = any("paused_files" in folder for folder in status["folders"])
        listed = client.transfers()["transfers"] if has_paused else []
        terminal.print_status(status, [one for one in listed if one["paused"]])
        # For the conflicts indexes are walked: not for scripts, which ask often.
        unread = client.notifications(unread_only=True)["unread"]
        terminal.print_open(len(client.conflicts()["conflicts"]), unread)

    return Answer(status, show)


def devices(arguments: argparse.Namespace) -> Answer:
    """Ask for the user's devices."""
    devices = client_of(arguments).devices()
    return Answer(devices, lambda: terminal.print_devices(devices))


def devices_remove(arguments: argparse.Namespace) -> Answer:
    """Make a device the user's no more."""
    client_of(arguments).remove_device(arguments.device)
    return say(
        {},
        f"{arguments.device} is none of your devices any more: it gets nothing from now on, and"
        " what it says is not believed. The files on its disk stay there.",
    )


def relay_run(arguments: argparse.Namespace) -> Answer:
    """Run a relay."""
    host, port = arguments.listen
    config = [] if arguments.config is None else ["--config", str(arguments.config)]
    web = [] if arguments.web is None else ["--web", _joined(arguments.web)]
    return _become_relay(arguments, "run", "--host", host, "--port", str(port), *config, *web)


def _joined(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def relay_config(arguments: argparse.Namespace) -> Answer:
    """Print every key of a relay's settings."""
    return _become_relay(arguments, "config")


def relay_invite(arguments: argparse.Namespace) -> Answer:
    """Make a token for a closed relay."""
    numbers = (("--devices", arguments.devices), ("--days", arguments.days))
    given = [word for name, n in numbers if n is not None for word in (name, str(n))]
    return _become_relay(arguments, "invite", *given)


def relay_invitations(arguments: argparse.Namespace) -> Answer:
    """Show whom a closed relay lets in."""
    return _become_relay(arguments, "invitations")


def relay_withdraw(arguments: argparse.Namespace) -> Answer:
    """Take an invitation back."""
    return _become_relay(arguments, "withdraw", arguments.invitation)


def _become_relay(arguments: argparse.Namespace, command: str, *more: str) -> NoReturn:
    """Become the relay's program: it is not this one's, and neither imports the other."""
    words = [command, "--home", str(home_of(arguments)), *more]
    words += [f"--{name}" for name in ("json", "verbose") if hasattr(arguments, name)]
    # -P: a directory named `relay` where the command is given is not the program.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "relay", *words])  # noqa: S606


def tui(arguments: argparse.Namespace) -> Answer:
    """Become the screen's program, for the same reasons."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise UsageError("The screen needs a terminal. `holdfast status` says the same in lines.")
    words = [sys.executable, "-P", "-m", "tui", "--home", str(home_of(arguments))]
    os.execv(sys.executable, words)  # noqa: S606


def relay_add(arguments: argparse.Namespace) -> Answer:
    """Have the daemon use a relay."""
    token = ask_token() if arguments.token else None
    client = client_of(arguments)
    known = {one["address"] for one in client.relays()["relays"]}
    relay = client.add_relay(arguments.address, token)
    if relay["address"] in known and token is None:
        told = "Your devices meet at that relay already."
        return say(relay, f"{told} `holdfast relay list` shows how it stands.")
    return say(
        relay,
        "Your devices meet at that relay from now on; those that are linked know it already, and"
        " the others hear of it when they are. `holdfast relay list` shows how it stands.",
    )


def relay_list(arguments: argparse.Namespace) -> Answer:
    """Ask for the relays."""
    relays = client_of(arguments).relays()
    return Answer(relays, lambda: terminal.print_relays(relays))


def relay_remove(arguments: argparse.Namespace) -> Answer:
    """Have the daemon use a relay no more."""
    client_of(arguments).remove_relay(arguments.address)
    return say({}, "Your devices use that relay no more, as soon as they hear of it.")


def folder_add(arguments: argparse.Namespace) -> Answer:
    """Make a folder of a directory."""
    folder = client_of(arguments).add_folder(arguments.path, arguments.name)
    return say(
        folder,
        f"{arguments.name} is {arguments.path.absolute()}, and offered to your other devices.",
    )


def folder_list(arguments: argparse.Namespace) -> Answer:
    """Ask for the folders."""
    folders = client_of(arguments).folders()
    return Answer(folders, lambda: terminal.print_folders(folders))


def folder_attach(arguments: argparse.Namespace) -> Answer:
    """Put a folder on a path."""
    folder = client_of(arguments).attach_folder(arguments.folder, arguments.path)
    return say(folder, f"{folder['name']} is at {arguments.path.absolute()} here.")


def folder_remove(arguments: argparse.Namespace) -> Answer:
    """Stop to sync a folder."""
    client_of(arguments).remove_folder(arguments.folder)
    return say(
        {},
        f"{arguments.folder} is not synced here any more. Its files stay where they are.",
        "So do their earlier versions, in .holdfast there; delete it if you do not want them.",
    )


def pause(arguments: argparse.Namespace) -> Answer:
    """Pause a folder, all, or one file that is on its way."""
    file = _file_alone(arguments)
    if file is not None:
        client_of(arguments).pause_transfer(file)
        return say({}, f"{file} waits until `holdfast resume --file` lets it go on.")
    client_of(arguments).pause(arguments.folder)
    return say({}, f"Paused {arguments.folder or 'all folders'}.")


def resume(arguments: argparse.Namespace) -> Answer:
    """Resume a folder, all, or one file."""
    file = _file_alone(arguments)
    if file is not None:
        client_of(arguments).resume_transfer(file)
        return say({}, f"{file} goes on.")
    client_of(arguments).resume(arguments.folder)
    return say({}, f"Resumed {arguments.folder or 'all folders'}.")


def _file_alone(arguments: argparse.Namespace) -> Path | None:
    if arguments.file is not None and arguments.folder is not None:
        raise UsageError("Give either a folder or --file.")
    return None if arguments.file is None else Path(arguments.file).absolute()


def conflicts(arguments: argparse.Namespace) -> Answer:
    """Ask for the conflict copies."""
    found = client_of(arguments).conflicts()
    return Answer(found, lambda: terminal.print_conflicts(found))


def resolve(arguments: argparse.Namespace) -> Answer:
    """Do what a person decided about a conflict copy."""
    choice = Choice(arguments.keep)
    client_of(arguments).resolve(arguments.path, choice)
    import shlex

    path = shlex.quote(str(arguments.path))
    kept = {
        Choice.ORIGINAL: f" `holdfast restore {path}` brings the copy back.",
        Choice.COPY: " `holdfast versions` shows what was there before.",
        Choice.BOTH: "",
    }
    return say({}, choice.outcome + kept[choice])


def search(arguments: argparse.Namespace) -> Answer:
    """Ask for files by name."""
    found = client_of(arguments).search(" ".join(arguments.words), arguments.limit)
    return Answer(found, lambda: terminal.print_found(found))


def versions(arguments: argparse.Namespace) -> Answer:
    """Ask what a file was, or what was deleted."""
    found = client_of(arguments).versions(arguments.path, is_deleted=arguments.deleted)
    if not found["versions"] and not arguments.deleted and arguments.path.is_dir():
        told = "It is a directory: `--deleted` shows what was deleted from it, and `holdfast"
        return say(found, f"{told} restore-folder PATH --at TIME` brings it back to a time.")
    return Answer(found, lambda: terminal.print_versions(found, is_deleted=arguments.deleted))


def restore(arguments: argparse.Namespace) -> Answer:
    """Bring a version back."""
    report = client_of(arguments).restore(
        arguments.path, arguments.version, arguments.at, arguments.to
    )
    return _restored(report)


def restore_folder(arguments: argparse.Namespace) -> Answer:
    """Bring a directory back to a time."""
    from peer.command_line.progress import watched

    client, path = client_of(arguments), arguments.path.absolute()
    report = watched(
        arguments, client, "restore", str(path), "files",
        lambda: client.restore_folder(path, arguments.at, is_dry=arguments.dry_run),
    )  # fmt: skip
    if arguments.dry_run:
        paths = report["restored"]
        return say(report, *paths, f"{terminal.count_files(len(paths))} would be brought back.")
    return _restored(report)


def _restored(report: "RestoreReport") -> Answer:
    failed, count = report["failed"], len(report["restored"])
    lines = [f"{problem['path']}: {problem['reason']}" for problem in failed]
    if count == 1:
        lines.append(f"Brought back {report['restored'][0]}.")
    elif count or not failed:
        lines.append(f"Brought back {count} files.")
    if report["unchanged"]:
        lines = ["It is what it was then; nothing was done."]
    answer = say(report, *lines)
    return answer._replace(failure=NotRestored() if failed else None)


def answer(arguments: argparse.Namespace) -> Answer:
    """Answer a folder that asks."""
    answer = HoldAnswer(arguments.answer)
    client_of(arguments).answer(arguments.folder, answer)
    meaning = "passes the changes on" if answer is HoldAnswer.ACCEPT else "brings the files back"
    return say({}, f"{arguments.folder} {meaning}.")


def demo(arguments: argparse.Namespace) -> Answer:
    """Run the demo (demo.py)."""
    if arguments.durable:
        from peer.command_line.durable_demo import run_durable_demo as run_demo
    else:
        from peer.command_line.demo import run_demo

    report = run_demo(arguments.path, is_quiet=hasattr(arguments, "json"))
    return Answer(report.as_data(), report.show, report.failure)


def doctor(arguments: argparse.Namespace) -> Answer:
    """Examine this device and its machine (doctor.py)."""
    from peer.command_line.doctor import examine

    checks = examine(home_of(arguments))
    failure = None if all(check.is_well for check in checks) else TroubleFound()

    def show() -> None:
        rows = ((one.word, one.name, one.finding) for one in checks)
        terminal.print_table(("", "what", "found"), rows)
        for check in checks:
            if not check.is_well:
                print(terminal.term_safe(f"The cure for {check.name}: {check.cure}"))

    return Answer({"checks": [check._asdict() for check in checks]}, show, failure)
