"""What can go wrong with a relay, in sentences for the person who runs it.

The exit codes are those of the README's table: the same trouble has the same number everywhere.
"""

import re


class RelayError(Exception):
    """Something went wrong that Holdfast has no better word for. The relay's log says more."""

    exit_code = 1

    @property
    def code(self) -> str:
        """The error's name for programs."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()


class UsageError(RelayError):
    """The command was not understood."""

    exit_code = 2


class UnknownInvitation(RelayError):
    """There is no invitation of that name."""

    exit_code = 38


class TooManyInvitations(RelayError):
    """There are as many invitations as a relay keeps."""

    exit_code = 15


class PathUnusable(RelayError):
    """The home cannot be used: it has to be a directory that you can write."""

    exit_code = 23


class BadConfig(RelayError):
    """The configuration is not valid."""

    exit_code = 30


class KeyFileUnusable(RelayError):
    """The relay's key file does not open."""

    exit_code = 31


class HomeDamaged(RelayError):
    """The relay's database cannot be used."""

    exit_code = 32


class HomeExposed(RelayError):
    """Other users of this machine can read the relay's key."""

    exit_code = 33


class AddressInUse(RelayError):
    """Another program uses the address that the relay listens on."""

    exit_code = 34
