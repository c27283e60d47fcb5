"""What a real disk makes of what is known, for the disks that tests make up."""

from __future__ import annotations

from peer.core.disk_types import Kind, Known, Listing


def shortened(listing: Listing, known: Known) -> Listing:
    """The listing without what is as it is known to be."""
    if listing.entries is None:
        return listing._replace(unseen=known.keys())
    same = {
        name
        for name, s in listing.entries
        if name in known
        and name.isascii()
        and s.kind is not Kind.DIRECTORY
        and tuple(known[name][:5]) == (s.inode, s.size, s.mtime_ns, s.ctime_ns, s.executable)
    }
    entries = [(name, stat) for name, stat in listing.entries if name not in same]
    return listing._replace(entries=entries, unseen=[name for name in known if name not in same])
