"""What a person looks for, over all folders of this device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from crypto.ids import FolderId
from peer.folder import Folder
from peer.home_store import Folder as StoredFolder
from peer.search import Found, Query, parse
from peer.status import SearchAnswer, SearchEntry
from protocol.names import fold_key
from protocol.nodes import Kind


class SearchRequests:
    """One daemon's."""

    def __init__(
        self,
        stored: Callable[[], Iterable[StoredFolder]],
        folders: Mapping[FolderId, Folder],
        name_of: Callable[[StoredFolder], str],
    ) -> None:
        self._stored, self._folders, self._name_of = stored, folders, name_of

    async def find(self, text: str, limit: int) -> SearchAnswer:
        """The best of all folders; raises UsageError for a query that means nothing."""
        query = parse(text)
        found: list[tuple[StoredFolder, Found]] = []
        for stored in list(self._stored()):
            folder = self._folders.get(stored.folder_id)
            if stored.path is None or folder is None or folder.is_closed:
                continue
            if query.folder is not None and query.folder != self._name_of(stored):
                continue
            directories = folder.engine.directories
            here = await folder.store.names.find(directories, query, limit + 1)
            found += [(stored, one) for one in here]
        found.sort(key=lambda pair: _rank(query, pair[1]))
        entries = [_entry(stored, self._name_of(stored), one) for stored, one in found[:limit]]
        return {"query": text, "found": entries, "more": len(found) > limit}


def _rank(query: Query, found: Found) -> tuple[bool, bool, int, tuple[str, ...]]:
    """As one folder's are ordered."""
    first = fold_key(query.words[0]) if query.words else ""
    name = fold_key(found.path[-1])
    return name != first, not name.startswith(first), -found.mtime_ns, found.path


def _entry(stored: StoredFolder, name: str, found: Found) -> SearchEntry:
    is_directory = found.node[15] & 3 == Kind.DIRECTORY
    return {
        "folder": name,
        "path": "/".join(found.path),
        "place": str(stored.path.joinpath(*found.path)) if stored.path is not None else "",
        "directory": is_directory,
        "size": 0 if is_directory else found.size,
        "modified_s": None if is_directory else found.mtime_ns / 1e9,
    }
