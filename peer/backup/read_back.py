"""Which folders of a device that came back by its kit are not read back from super-nodes yet.

Until all of their logs are, no other device may be removed: a removal says up to where the removed
device's log counts, by what this one holds of it, and what comes later would not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from crypto.ids import FolderId
from peer.backup.backup_settings import UNREAD_SETTING
from peer.device.home import Home
from peer.errors import NotReadBack

_ID_SIZE: Final = 32


def write_unread(folder_ids: Iterable[FolderId]) -> bytes:
    """The folders as the home keeps them."""
    return b"".join(sorted(folder_ids))


class ReadBack:
    """Those of one device."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._unread: set[FolderId] = set()

    async def load(self) -> None:
        """Goes on with what is in the home."""
        data = await self._home.store.setting(UNREAD_SETTING) or b""
        starts = range(0, len(data), _ID_SIZE)
        self._unread = {FolderId(data[at : at + _ID_SIZE]) for at in starts}

    @property
    def is_awaited(self) -> bool:
        """Whether there is one."""
        return bool(self._unread)

    async def is_read(self, folder_id: FolderId) -> None:
        """All that nodes have of a folder's logs has been taken in."""
        if folder_id in self._unread:
            self._unread.discard(folder_id)
            async with self._home.store.transaction() as write:
                await write.put_setting(UNREAD_SETTING, write_unread(self._unread))

    def check(self, names: Mapping[FolderId, str]) -> None:
        """Raises NotReadBack while one of the folders is not read back that nodes keep still, which
        are those with names.
        """
        if unread := self._unread & names.keys():
            said = ", ".join(sorted(names[id_] for id_ in unread))
            raise NotReadBack(
                f"{said}: not all of it has come back from the super-nodes yet, and what the other"
                " device wrote there would not count any more. Try again later; if super-nodes are"
                " lost for good, name others with `holdfast backup add` first."
            )
