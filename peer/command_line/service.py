"""The daemon as a service of the person's session: a unit for systemd, or an agent for launchd."""

from __future__ import annotations

import hashlib
import os
import plistlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from crypto.errors import KeyFileError
from crypto.key_file import KEY_FILE_SIZE, KeyFileMode, key_file_mode
from peer.command_line.passphrase import PASSPHRASE_FILE_VARIABLE
from peer.errors import NoDevice, ServiceFailed

UNIT = """\
[Unit]
Description=Holdfast ({home})
After=network.target

[Service]
Type=notify
ExecStart={command}
{environment}Restart=on-failure
RestartSec=5
# No device, a home in use or open to others, a key that does not open: no restart cures them.
RestartPreventExitStatus=3 6 31 33
WatchdogSec=120
TimeoutStopSec=10
# What can be had in a session without touching what the daemon is for: all of the person's files.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=default.target
"""
"""The watchdog asks the event loop, which never waits for a disk: what does not turn for two
minutes hangs, also on a machine that swaps.
"""

DEFAULT_NAME = "holdfast"
WANTED_BY = "default.target.wants"
"""Where systemd links what is enabled, beside the units."""
WITHOUT = (
    "Try it in a session of your own, at the machine or by ssh, not by su or sudo; `holdfast run`"
    " runs the daemon without a service."
)


class Service(NamedTuple):
    """Where a home's service is described, and by what name its manager knows it."""

    name: str
    path: Path
    is_systemd: bool


def service_of(home: Path, *, is_default: bool, platform: str = sys.platform) -> Service:
    """The service of a home; other homes than the default one have names of their own."""
    suffix = "" if is_default else f"-{hashlib.sha256(os.fsencode(home)).hexdigest()[:8]}"
    name = DEFAULT_NAME + suffix
    if platform == "darwin":
        label = f"org.{name}"
        agents = Path.home() / "Library" / "LaunchAgents"
        return Service(label, agents / f"{label}.plist", False)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Service(f"{name}.service", config / "systemd" / "user" / f"{name}.service", True)


def describe(service: Service, home: Path) -> bytes:
    """The text of the unit or agent."""
    words = [sys.executable, "-P", "-m", "peer", "--home", str(home), "run"]
    passphrase_file = os.environ.get(PASSPHRASE_FILE_VARIABLE)
    if not service.is_systemd:
        agent: dict[str, object] = {
            "Label": service.name, "ProgramArguments": words, "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False}, "ProcessType": "Background",
        }  # fmt: skip
        if passphrase_file:
            agent["EnvironmentVariables"] = {PASSPHRASE_FILE_VARIABLE: passphrase_file}
        return plistlib.dumps(agent)
    environment = ""
    if passphrase_file:
        environment = f"Environment={quoted(f'{PASSPHRASE_FILE_VARIABLE}={passphrase_file}')}\n"
    command = " ".join(map(quoted, words)).replace("$", "$$")
    shown = str(home).replace("%", "%%")
    return UNIT.format(home=shown, command=command, environment=environment).encode()


def quoted(word: str) -> str:
    """A word as systemd reads it."""
    if "\n" in word or "\0" in word:
        raise ServiceFailed(f"{word!r} cannot stand in a unit of systemd.")
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{word}"'


def install(service: Service, home: Path) -> str:
    """Writes the description and starts the service; says what was done. Raises ServiceFailed."""
    check_key(home)
    service.path.parent.mkdir(parents=True, exist_ok=True)
    was_there = service.path.exists()
    service.path.write_bytes(describe(service, home))
    if service.is_systemd:
        try:
            _manage(service, "daemon-reload")
        except ServiceFailed as error:
            if not was_there:  # nobody has read it, and no later command would find it enabled
                service.path.unlink()
            raise ServiceFailed(f"Nothing was installed: {error}") from error
        _manage(service, "enable", "--now", service.name)
        return (
            f"{service.name} runs, and will when you log in. To have it run without that:"
            " `loginctl enable-linger`."
        )
    _call(service, ["launchctl", "load", "-w", str(service.path)])
    return f"{service.name} runs, and will when you log in."


def uninstall(service: Service) -> str:
    """Stops the service and removes its description. Raises ServiceFailed."""
    if not service.path.exists():
        raise ServiceFailed(
            f"There is no service {service.name}. `holdfast service install` makes it."
        )
    why = ""
    try:
        if service.is_systemd:
            _manage(service, "disable", "--now", service.name)
        else:
            _call(service, ["launchctl", "unload", "-w", str(service.path)])
    except ServiceFailed as error:
        why = str(error)
    # Also where its manager is not to be reached, as over su: else it would run at the next login.
    service.path.unlink()
    if service.is_systemd:
        (service.path.parent / WANTED_BY / service.name).unlink(missing_ok=True)
        if not why:
            _manage(service, "daemon-reload")
    if why:
        return (
            f"{service.name} is removed, and will not run when you log in. It may run until then,"
            f" for it could not be stopped: {why} `holdfast stop` stops it."
        )
    return f"{service.name} is stopped and removed."


def state_of(service: Service) -> tuple[str, str]:
    """How the service stands, in the manager's word, and in a sentence."""
    if not service.path.exists():
        return "absent", "There is no service. `holdfast service install` makes it."
    command = ["systemctl", "--user", "is-active", service.name]
    if not service.is_systemd:
        command = ["launchctl", "list", service.name]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - our words
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceFailed(f"{command[0]} does not answer: {error}.") from error
    state = answer.stdout.strip() if service.is_systemd else ""
    if service.is_systemd and not state and answer.stderr.strip():  # no session of systemd's
        why = answer.stderr.strip().splitlines()[-1].rstrip(".")
        return "unknown", f"Whether {service.name} runs is not known: {why}. {WITHOUT}"
    state = state or ("active" if answer.returncode == 0 else "unknown")
    where = f"`journalctl --user -u {service.name}` shows its log." if service.is_systemd else ""
    return state, f"{service.name} is {state}. {where}".strip()


def check_key(home: Path) -> None:
    """Raises NoDevice, or ServiceFailed for a key that only a person can unlock."""
    try:
        with (home / "key").open("rb") as file:
            mode = key_file_mode(file.read(KEY_FILE_SIZE + 1))
    except FileNotFoundError as error:
        raise NoDevice from error
    except (OSError, KeyFileError) as error:
        raise ServiceFailed(f"The key of this device cannot be read: {error}.") from error
    if mode is KeyFileMode.PASSPHRASE and not os.environ.get(PASSPHRASE_FILE_VARIABLE):
        raise ServiceFailed(
            "The key of this device is locked by a passphrase, which nobody types at a service."
            " Put it into a file that only you can read, and name that file in"
            f" ${PASSPHRASE_FILE_VARIABLE} while you install."
        )


def _manage(service: Service, *words: str) -> None:
    _call(service, ["systemctl", "--user", *words])


def _call(service: Service, command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our words
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceFailed(f"{command[0]} does not answer: {error}. {WITHOUT}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        told = said[-1].rstrip(".") if said else done.returncode
        raise ServiceFailed(f"`{' '.join(command)}` failed: {told}. {WITHOUT}")
