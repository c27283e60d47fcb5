"""What a home keeps of copies at super-nodes, by the names of its settings."""

from __future__ import annotations

from typing import Final

BACKUPS_SETTING: Final = "backups"
"""The records of which folder rests where (`protocol.backup_records`)."""
VAULT_SETTING: Final = "vault secret"
"""32 bytes of the user's kit that find and open its vault, and nothing else of the kit."""
UNREAD_SETTING: Final = "unread folders"
"""The ids of folders with which a device came back by its kit, until all of them is here."""
