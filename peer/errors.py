"""What can go wrong on a device, in sentences for the person who sees it.

A class's docstring is the sentence that is shown when nothing more precise is known: what happened,
then what to do. The class also fixes the command line's exit code and the status of the control
API's answer. The README's table of exit codes is checked against these classes by a test, so an
exit code never changes its meaning.
"""

import re
from typing import Any, ClassVar

from protocol.errors import ExpiredCode, MistypedCode, ProtocolError, TimedOut, WrongCode


class PeerError(Exception):
    """Something went wrong that Holdfast has no better word for. The log of `holdfast run` says
    more.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "peer_error"
    """The error's name for programs, made from the class's name."""

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or self.sentence())

    @classmethod
    def sentence(cls) -> str:
        """What is shown where nothing more precise is known: the docstring, on one line."""
        return " ".join((cls.__doc__ or cls.__name__).split())

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


# 2-9: what was asked for, and whether there is somebody to ask.


class UsageError(PeerError):
    """The command was not understood. `holdfast --help` shows every command."""

    exit_code = 2
    http_status = 400


class NoDevice(PeerError):
    """There is no device in this home yet. Make one with `holdfast init --name NAME`, or join your
    others with `holdfast join CODE --name NAME`.
    """

    exit_code = 3
    http_status = 409


class DeviceExists(PeerError):
    """This home already holds a device. Use another home with `--home DIR`, or remove this one
    first.
    """

    exit_code = 4
    http_status = 409


class DaemonNotRunning(PeerError):
    """The daemon is not running. Start it with `holdfast run`."""

    exit_code = 5
    http_status = 503


class HomeInUse(PeerError):
    """Another daemon runs on this home already. Stop it with `holdfast stop`, or use another home
    with `--home DIR`.
    """

    exit_code = 6
    http_status = 409


class DaemonSilent(PeerError):
    """The daemon did not answer in time. Look into its log; if it hangs, stop it and start it
    again.
    """

    exit_code = 7
    http_status = 504


class AccessRefused(PeerError):
    """The daemon refused this request: it did not come from this home's own command line."""

    exit_code = 8
    http_status = 403


# 10-19: pairing.


class WrongPairingCode(PeerError):
    """The code is not the one that the other device shows. Check it and type it again."""

    exit_code = 10
    http_status = 403


class ExpiredPairingCode(PeerError):
    """The code is used up or too old. Ask for a new one with `holdfast invite` on the other
    device.
    """

    exit_code = 11
    http_status = 410


class InvitationNotFound(PeerError):
    """No device on this network shows that code. Give the other device's address with `--address
    HOST:PORT`.
    """

    exit_code = 12
    http_status = 404


class DeviceUnreachable(PeerError):
    """The other device cannot be reached. See that its daemon runs and that both are on one
    network.
    """

    exit_code = 13
    http_status = 504


class OtherDeviceFailed(PeerError):
    """The other device broke the protocol, and the connection was closed. See that both run the
    same version.
    """

    exit_code = 14
    http_status = 502


class TooManyInvitations(PeerError):
    """Too many invitations are open. Use one, or wait until they are ten minutes old."""

    exit_code = 15
    http_status = 409


# 20-29: folders and their disks.


class UnknownDevice(PeerError):
    """There is no device of that name or id. `holdfast devices` lists yours."""

    exit_code = 16
    http_status = 404


class AmbiguousDevice(PeerError):
    """More than one device has that name. Give its id instead; `holdfast devices` shows it."""

    exit_code = 17
    http_status = 409


class NotReadBack(PeerError):
    """Not all that super-nodes keep has come back to this device yet. Try again later."""

    exit_code = 69
    http_status = 409


class WrongDevice(PeerError):
    """A device cannot remove itself. Do it on another one of your devices."""

    exit_code = 18
    http_status = 409


class UnknownRelay(PeerError):
    """There is no relay of that address. `holdfast relay list` shows those of this device."""

    exit_code = 19
    http_status = 404


class UnknownFolder(PeerError):
    """There is no folder of that name or id. `holdfast folder list` shows those there are."""

    exit_code = 20
    http_status = 404


class AmbiguousFolder(PeerError):
    """More than one folder has that name. Give its id instead; `holdfast folder list` shows it."""

    exit_code = 21
    http_status = 409


class FolderExists(PeerError):
    """A folder of that name, or one on that path, is there already. Choose another name or path."""

    exit_code = 22
    http_status = 409


class PathUnusable(PeerError):
    """The path cannot be synced: it has to be a directory that you can read and write."""

    exit_code = 23
    http_status = 400


class NothingToAnswer(PeerError):
    """The folder asks nothing, so there is nothing to answer."""

    exit_code = 24
    http_status = 409


class DiskError(PeerError):
    """The disk failed, and what was written last may not be on it. Look into the system's log
    before trusting this disk.
    """

    exit_code = 25


class DiskFull(DiskError):
    """The disk is full. Free some space; syncing goes on by itself."""

    exit_code = 26
    http_status = 507


class DiskGone(DiskError):
    """The folder's disk is not there. Attach it again; until then nothing is synced and nothing
    counts as deleted.
    """

    exit_code = 27
    http_status = 409


class NotInFolder(PeerError):
    """The path is in none of your folders. `holdfast folder list` shows where they are."""

    exit_code = 28
    http_status = 404


class NoSuchVersion(PeerError):
    """There is no such version. `holdfast versions PATH` lists those there are; add `--deleted` to
    see what was deleted from a directory.
    """

    exit_code = 29
    http_status = 404


class UnknownFile(PeerError):
    """There is no such file here (any more). `GET /api/files/lookup?path=PATH` says a file's id."""

    exit_code = 50
    http_status = 404


class FileChanged(PeerError):
    """The file is not what the request took it for: it was changed meanwhile. Look at it again."""

    exit_code = 51
    http_status = 412


class NotOnItsWay(PeerError):
    """No file of this path is on its way to this device. `holdfast status` shows what is."""

    exit_code = 52
    http_status = 409


# 30-39: this device's own files, addresses and relays.


class BadConfig(PeerError):
    """The configuration is not valid. Correct `config.toml` in the home."""

    exit_code = 30
    http_status = 400


class KeyFileUnusable(PeerError):
    """The key file does not open: the passphrase is wrong, or the file is damaged."""

    exit_code = 31


class HomeDamaged(PeerError):
    """The home is damaged beyond what Holdfast repairs by itself. Put it back from a copy, or join
    again as a new device.
    """

    exit_code = 32


class HomeExposed(PeerError):
    """Other users of this machine can read the home. Close it with `chmod 700` on the directory."""

    exit_code = 33


class AddressInUse(PeerError):
    """Another program uses the address that Holdfast listens on. Choose another with `--listen
    HOST:PORT`.
    """

    exit_code = 34


class IndexDamaged(PeerError):
    """A folder's index is damaged. It was moved aside and is rebuilt from the disk and the other
    devices.
    """

    exit_code = 35


class UnknownInvitation(PeerError):
    """There is no such invitation. `holdfast relay invitations` shows those of this relay."""

    exit_code = 38
    http_status = 404


class RelayUnreachable(PeerError):
    """The relay cannot be reached, or it is not the one whose fingerprint is in the address."""

    exit_code = 36
    http_status = 504


class TooManyRelays(PeerError):
    """This device uses four relays already. Remove one with `holdfast relay remove`."""

    exit_code = 37
    http_status = 409


class ServiceFailed(PeerError):
    """The service could not be set up. `holdfast run` runs the daemon without one."""

    exit_code = 49


# 40-49: commands whose answer is a judgement.


class DemoFailed(PeerError):
    """The demo found something that is not as it must be. Please report it together with what was
    printed.
    """

    exit_code = 40


class NotRestored(PeerError):
    """Not everything could be brought back. What was said of each path says why."""

    exit_code = 42


class NotResolved(PeerError):
    """The conflict is as it was. `holdfast conflicts` lists those there are."""

    exit_code = 43
    http_status = 409


class TroubleFound(PeerError):
    """The doctor found trouble. Each line says how to cure it."""

    exit_code = 41


class TrailBroken(PeerError):
    """The audit trail does not hold: something in it was changed or is missing. What was said of it
    says where.
    """

    exit_code = 48


# 60-69: share links.


class LinkUnknown(PeerError):
    """There is no such share link, or its address was not copied whole. Ask who sent it."""

    exit_code = 60
    http_status = 404


class LinkEnded(PeerError):
    """This share link has ended. Ask who sent it for a new one."""

    exit_code = 61
    http_status = 410


class WrongLinkPassword(PeerError):
    """The password of this share link is another one, or the link has ended."""

    exit_code = 62
    http_status = 403


class LinkDamaged(PeerError):
    """What the relay gave for this share link is not what was shared. Nothing of it was kept as
    whole; ask who sent it for a new link, by another relay if it happens again.
    """

    exit_code = 63
    http_status = 502


class LinkUnreachable(PeerError):
    """The relay of this share link does not answer. See that you are online and try again; what has
    come is kept.
    """

    exit_code = 64
    http_status = 503


class LinkNotMade(PeerError):
    """No share link was made. Nothing of it is at the relay."""

    exit_code = 66
    http_status = 409


class NoLinkRelay(PeerError):
    """No relay of yours serves share links. Use one that does: `holdfast relay add ADDRESS`; on a
    machine of your own, `holdfast relay run --listen HOST:PORT --web HOST:PORT`.
    """

    exit_code = 67
    http_status = 409


class UnknownLink(PeerError):
    """There is no such share link of yours. `holdfast link list` shows those there are."""

    exit_code = 68
    http_status = 404


class TooManyAttempts(PeerError):
    """The relay was asked with wrong passwords or addresses too often. Wait a minute and try
    again.
    """

    exit_code = 65
    http_status = 429


# 44-47: who the user is.


class PassphraseWrong(PeerError):
    """This is not the passphrase of this device's key file."""

    exit_code = 44
    http_status = 403


class TooManyTries(PeerError):
    """Too many tries with a wrong passphrase. Wait, and try again."""

    exit_code = 45
    http_status = 429


class KeyNotLocked(PeerError):
    """The key file of this device has no passphrase. Who may read `control.token` needs none."""

    exit_code = 46
    http_status = 409


class NotBuilt(PeerError):
    """This version of Holdfast does not do that yet."""

    exit_code = 47
    http_status = 501


# 54-59: copies at super-nodes, and coming back from them.


class TooFewNodes(PeerError):
    """There are fewer super-nodes than shares. Name more, or choose a smaller scheme with --scheme
    K/N.
    """

    exit_code = 54
    http_status = 409


class NoPlotting(PeerError):
    """A plot takes matplotlib, which is not installed. Get it with `uv tool install '.[plot]'` in
    the clone, or leave --plot away: the table says the same.
    """

    exit_code = 57


class BadRecoveryKit(PeerError):
    """This is not your recovery kit, or too much of it is misread. Compare it with the paper once
    more.
    """

    exit_code = 55
    http_status = 400


class NothingToRecover(PeerError):
    """At none of these relays lies anything for this kit. Name the relays that are printed on it,
    each with --relay.
    """

    exit_code = 56
    http_status = 404


def every_error() -> list[type[PeerError]]:
    """All errors by exit code, the root first: what the README's table lists."""
    found, waiting = set[type[PeerError]](), [PeerError]
    while waiting:
        error = waiting.pop()
        found.add(error)
        waiting += error.__subclasses__()
    return sorted(found, key=lambda error: (error.exit_code, error.code))


def of_protocol(error: ProtocolError) -> PeerError:
    """The same trouble as a person sees it: what the other side did, in this side's words."""
    match error:
        case MistypedCode():  # says which word, and nothing but what was typed here
            return WrongPairingCode(str(error))
        case WrongCode():
            return WrongPairingCode()
        case ExpiredCode():
            return ExpiredPairingCode()
        case TimedOut():
            return DeviceUnreachable()
        case _:
            return OtherDeviceFailed()


def of_code(code: str, sentence: str) -> PeerError:
    """The error that a daemon named in its answer, made again on this side of the socket."""
    for error in every_error():
        if error.code == code:
            return error(sentence)
    return PeerError(sentence)
