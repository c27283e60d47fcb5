"""What a person looks for, over all folders of this device."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from crypto.ids import FolderId, NodeId
from peer.device.home_store import Folder as StoredFolder
from peer.errors import UnknownDevice, UnknownFolder, UsageError
from peer.folders.folder import Folder
from peer.search.search import TYPES, Found, Query, parse, unknown_type
from peer.search.search_lookup import Hit, Tier
from peer.search.search_upkeep import SearchUpkeep
from peer.status import DeviceList, SearchAnswer, SearchEntry, Suggestions
from protocol.names import fold_key
from protocol.nodes import Kind

SUGGESTED_FROM: Final = 2
"""Letters of a word from which on something is suggested: one letter begins everything."""


class _Place(NamedTuple):
    """A folder that is searched."""

    stored: StoredFolder
    folder: Folder
    name: str


class SearchRequests:
    """One daemon's."""

    def __init__(
        self,
        stored: Mapping[FolderId, StoredFolder],
        folders: Mapping[FolderId, Folder],
        name_of: Callable[[StoredFolder], str],
        upkeep: SearchUpkeep,
        devices: Callable[[], Awaitable[DeviceList]],
    ) -> None:
        self._stored, self._folders, self._name_of = stored, folders, name_of
        self._upkeep, self._devices = upkeep, devices

    async def find(self, text: str, limit: int) -> SearchAnswer:
        """The best of all folders; raises UsageError for a query that means nothing, and
        UnknownDevice or UnknownFolder where nothing is found because there is none of that name.
        """
        query = parse(text)
        places = {place.stored.folder_id: place for place in self._places(query)}
        folders = list(places) if query.folder is not None else None
        nothing: list[Hit] = []
        # Before the index is asked: what it takes up while it answers would be in neither.
        may_walk = query.owner is None
        behind = [p for id_, p in places.items() if may_walk and self._upkeep.is_behind(id_)]
        asked = await self._upkeep.ask(lambda lookup: lookup.find(query, folders, limit), nothing)
        hits = [hit for hit in asked if hit.folder in places]
        hits += await self._walk(query, behind, {hit.node for hit in hits}, limit)
        # Each folder's own index has the last word: what is shown, and where.
        found: dict[NodeId, Found] = {}
        for folder_id, place in places.items():
            nodes = [hit.node for hit in hits if hit.folder == folder_id]
            folder = place.folder
            if nodes and not folder.is_closed:
                found |= await folder.store.names.shown(folder.engine.directories, nodes)
        shown = [(hit, found[hit.node]) for hit in hits if hit.node in found]
        shown.sort(key=lambda pair: (pair[0].tier, -pair[0].score, pair[1].path))
        if not shown:
            await self._check(query)
        entries = [_entry(places[hit.folder], hit, one) for hit, one in shown[:limit]]
        return {"query": text, "found": entries, "more": len(shown) > limit}

    async def suggest(self, text: str, limit: int) -> Suggestions:
        """What the last word of a query may become: names, words in files, or a filter's value."""
        before, space, last = text.rpartition(" ")
        begun = before + space
        name, colon, value = last.partition(":")
        if colon:
            return {"query": text, "suggestions": self._values(begun, name, value)[:limit]}
        if len(last) < SUGGESTED_FROM:
            return {"query": text, "suggestions": []}
        none: tuple[list[str], list[str]] = ([], [])
        words, names = await self._upkeep.ask(
            lambda lookup: (lookup.completions(last, limit), lookup.names(last, limit)), none
        )
        quoted = [f'"{name}"' if " " in name else name for name in names if '"' not in name]
        # In turn, so that neither hides the other.
        mixed = [one for pair in zip(words, quoted, strict=False) for one in pair]
        both = len(mixed) // 2
        every = dict.fromkeys([*mixed, *words[both:], *quoted[both:]])
        return {"query": text, "suggestions": [begun + one for one in every][:limit]}

    async def _check(self, query: Query) -> None:
        """Whether what the filters name is there at all. What the index may not know yet is."""
        folders = map(self._name_of, self._stored.values())
        if query.folder is not None and query.folder not in folders:
            raise UnknownFolder(
                f"There is no folder {query.folder!r}: `holdfast folder list` shows them all."
            )
        if any(self._upkeep.is_behind(place.folder.folder_id) for place in self._places(Query())):
            return
        if (owner := query.owner) is not None:
            names = {one["name"].casefold() for one in (await self._devices())["devices"]}
            if owner.casefold() not in names and not await self._upkeep.ask(
                lambda lookup: lookup.has_owner(owner), True
            ):
                raise UnknownDevice(
                    f"There is no device {owner!r}, and none of that name wrote a file here."
                    " `holdfast devices` shows those there are."
                )
        if (ending := unknown_type(query)) and not await self._upkeep.ask(
            lambda lookup: lookup.has_ending(ending), True
        ):
            raise UsageError(
                f"No file here ends in .{ending}. After type: stands such an ending, or one of:"
                f" dir, {', '.join(sorted(TYPES))}."
            )

    def _values(self, begun: str, name: str, value: str) -> list[str]:
        known: Sequence[str] = ()
        if name == "type":
            known = sorted(TYPES)
        elif name == "folder":
            known = sorted(place.name for place in self._places(Query()))
        low = value.lower()
        quoted = (f'"{one}"' if " " in one else one for one in known if one.lower().startswith(low))
        return [f"{begun}{name}:{one}" for one in quoted]

    def _places(self, query: Query) -> Iterable[_Place]:
        for stored in list(self._stored.values()):
            folder = self._folders.get(stored.folder_id)
            if stored.path is None or folder is None or folder.is_closed:
                continue
            place = _Place(stored, folder, self._name_of(stored))
            if query.folder is None or query.folder == place.name:
                yield place

    async def _walk(
        self, query: Query, places: Iterable[_Place], known: set[NodeId], limit: int
    ) -> list[Hit]:
        """By name in what has just changed, and while the search index is being made."""
        out: list[Hit] = []
        for _, folder, _ in places:
            found = await folder.store.names.find(folder.engine.directories, query, limit + 1)
            hits = map(partial(_walked, folder.folder_id, query), found)
            out += [hit for hit in hits if hit.node not in known]
        return out


def _walked(folder_id: FolderId, query: Query, found: Found) -> Hit:
    first = fold_key(query.words[0]) if query.words else ""
    name = fold_key(found.path[-1])
    tier = Tier.NAME_BEGINS if name.startswith(first) else Tier.NAME
    return Hit(
        folder_id, found.node, Tier.NAME_IS if name == first else tier, found.mtime_ns, "", ""
    )


def _entry(place: _Place, hit: Hit, one: Found) -> SearchEntry:
    is_directory = one.node[15] & 3 == Kind.DIRECTORY
    root = place.stored.path
    return {
        "folder": place.name,
        "path": "/".join(one.path),
        "place": str(root.joinpath(*one.path)) if root is not None else "",
        "directory": is_directory,
        "size": 0 if is_directory else one.size,
        "modified_s": None if is_directory else one.mtime_ns / 1e9,
        "owner": hit.owner,
        "matched": "text" if hit.tier is Tier.TEXT else "name",
        "snippet": hit.snippet,
    }
