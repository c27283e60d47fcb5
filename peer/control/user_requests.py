"""Who this device's user is, and a token for who knows the passphrase of its key file.

A device has its identity before its daemon can run (`holdfast init`), so registering once more is a
conflict. A login proves the passphrase by opening the key file, which costs Argon2id's time and
memory; one is tried at a time, and after three failures ever longer waits come between.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from crypto.errors import KeyFileError
from crypto.key_file import KeyFileMode, decode_key_file, key_file_mode
from peer.errors import DeviceExists, KeyNotLocked, NotBuilt, PassphraseWrong, TooManyTries
from peer.status import Login, Profile

TRIES_FREE: Final = 3
"""A person mistypes twice."""
WAIT_MAX_S: Final = 3600.0
TOKEN_LIFE_S: Final = 12 * 3600.0
"""A working day; the daemon's restart ends it too."""
TOKENS_MAX: Final = 100


class UserRequests:
    """One daemon's."""

    def __init__(
        self,
        key_path: Path,
        profile: Callable[[], Awaitable[Profile]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key_path, self._profile = key_path, profile
        self._now = now
        self._trying = asyncio.Lock()
        self._failures = 0
        self._waits_until = float("-inf")
        self._tokens: dict[bytes, float] = {}

    async def profile(self) -> Profile:
        """Who the user is, on which device."""
        found = await self._profile()
        found["locked"] = await asyncio.to_thread(self._is_locked)
        return found

    async def register(self) -> None:
        """Makes an identity where there is none, which cannot be here; raises DeviceExists."""
        raise DeviceExists(
            "This device belongs to its user already. Another one is made by `holdfast init`, or"
            " by `holdfast join` with a code of this one."
        )

    async def login(self, passphrase: str) -> Login:
        """A token for who knows the passphrase. Raises PassphraseWrong, TooManyTries or, where the
        key file is not locked, KeyNotLocked.
        """
        async with self._trying:
            left = self._waits_until - self._now()
            if left > 0:
                raise TooManyTries(f"Too many tries with a wrong passphrase. Wait {left:.0f} s.")
            try:
                await asyncio.to_thread(self._open, passphrase)
            except KeyFileError as error:
                self._failures += 1
                if self._failures >= TRIES_FREE:
                    wait = min(2.0 ** (self._failures - TRIES_FREE + 1), WAIT_MAX_S)
                    self._waits_until = self._now() + wait
                raise PassphraseWrong from error
            self._failures = 0
            token = secrets.token_urlsafe(32)
            while len(self._tokens) >= TOKENS_MAX:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[token.encode("ascii")] = self._now() + TOKEN_LIFE_S
            return {"token": token, "expires_s": TOKEN_LIFE_S}

    def accepts(self, token: bytes) -> bool:
        """Whether it came out of a login and has not ended."""
        now = self._now()
        self._tokens = {one: end for one, end in self._tokens.items() if end > now}
        # All of them are compared, so that nothing shows how near a guess came.
        return sum([hmac.compare_digest(one, token) for one in self._tokens]) > 0

    async def share(self) -> None:
        """Gives a folder to another user, which nothing speaks yet."""
        raise NotBuilt(
            "Folders are not shared with other users yet: there is one user, with any number of"
            " devices. `holdfast invite` adds a device, `holdfast link create` a share link."
        )

    def _is_locked(self) -> bool:
        return key_file_mode(self._key_path.read_bytes()) is KeyFileMode.PASSPHRASE

    def _open(self, passphrase: str) -> None:
        data = self._key_path.read_bytes()
        if key_file_mode(data) is not KeyFileMode.PASSPHRASE:
            raise KeyNotLocked
        decode_key_file(data, passphrase=passphrase)
